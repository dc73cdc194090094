"""Train on conversations: python -m train.instruct configs/train/tiny_instruct.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("instruct", sys.argv[1:])
