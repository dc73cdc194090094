"""Tune a trained model: python -m train.finetune configs/train/tiny_finetune.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("finetune", sys.argv[1:])
