"""Linear probes of two encoders, paired: python -m eval.probe BEFORE AFTER [--limit N] [--json FILE]"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", "probe", *sys.argv[1:]])
