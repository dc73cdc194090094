"""GenEval: python -m eval.geneval generate --model PATH --prompts PATH --out RUN, then
python -m eval.geneval score RUN --detector mask2former:PATH --classifier clip:PATH"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", *sys.argv[1:2], "--bench", "geneval", *sys.argv[2:]])
