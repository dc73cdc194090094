"""Ask a benchmark's questions: python -m eval.vqa --bench mme --data PATH [--protocol cambrian]"""

import sys

from unimm.app.cli import main

if __name__ == "__main__":
    main(["eval", "vqa", *sys.argv[1:]])
