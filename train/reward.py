"""Learn from rewards: python -m train.reward configs/train/tiny_reward.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("reward", sys.argv[1:])
