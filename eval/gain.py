"""Compare two models on the built-in world: python -m eval.gain BEFORE AFTER [--limit N] [--json FILE]"""

import sys

from unimm.evaluation.gain import main

if __name__ == "__main__":
    main(sys.argv[1:])
