"""DPG-Bench: python -m eval.dpg generate --model PATH --prompts PATH --out RUN, then
python -m eval.dpg score RUN --vqa vlm:PATH --questions PATH"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", *sys.argv[1:2], "--bench", "dpg", *sys.argv[2:]])
