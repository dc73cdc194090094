"""WISE: python -m eval.wise generate --model PATH --prompts PATH --out RUN, then
python -m eval.wise score RUN --judge vlm:PATH"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", *sys.argv[1:2], "--bench", "wise", *sys.argv[2:]])
