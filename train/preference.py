"""Learn from pairs: python -m train.preference configs/train/tiny_preference.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("preference", sys.argv[1:])
