"""Train an encoder: python -m train.encoder configs/train/tiny_encoder.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("encoder", sys.argv[1:])
