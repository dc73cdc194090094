"""Train a KL autoencoder: python -m train.vae configs/train/tiny_vae.yaml [key=value ...]"""

import sys

from unimm.training.stages import main

if __name__ == "__main__":
    main("vae", sys.argv[1:])
