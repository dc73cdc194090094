"""Train by class: python -m train.class_conditional configs/train/tiny_class_conditional.yaml [key=value]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("class_conditional", sys.argv[1:])
