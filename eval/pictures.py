"""Compare folders of pictures: python -m eval.pictures REAL DRAWN --features inception:FILE [--pairs]"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", "pictures", *sys.argv[1:]])
