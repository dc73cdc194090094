"""Train on captions: python -m train.text_to_image configs/train/tiny_text_to_image.yaml [key=value]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("text_to_image", sys.argv[1:])
