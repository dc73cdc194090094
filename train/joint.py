"""Train a model to talk, see and draw: python -m train.joint configs/train/tiny_joint.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("joint", sys.argv[1:])
