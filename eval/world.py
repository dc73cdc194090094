"""Score a model on the built-in world: python -m eval.world --model tiny [--limit N] [--json FILE]"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", "world", *sys.argv[1:]])
