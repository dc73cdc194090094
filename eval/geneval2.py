"""GenEval 2: python -m eval.geneval2 generate --model PATH --prompts PATH --out RUN, then
python -m eval.geneval2 score RUN --soft vlm:PATH"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", *sys.argv[1:2], "--bench", "geneval2", *sys.argv[2:]])
