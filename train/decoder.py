"""Train a decoder: python -m train.decoder configs/train/tiny_decoder.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("decoder", sys.argv[1:])
