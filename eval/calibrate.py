"""Calibrate a model's verifiers: python -m eval.calibrate --model tiny [--prompts N] [--install]"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", "calibrate", *sys.argv[1:]])
