"""Measure what a decoder's training brought: python -m eval.reconstruction --before tiny --after RUN/model"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", "reconstruction", *sys.argv[1:]])
