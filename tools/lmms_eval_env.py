"""Make an environment of its own for lmms-eval: python -m tools.lmms_eval_env [FOLDER] [--torch-index URL]

lmms-eval pins and pulls in what unimm does not want beside it. The environment holds the tested torch,
lmms-eval 0.7 and this checkout (editable), which lmms-eval then knows as `--model unimm`. It takes about 3 GB
and some minutes. What is in FOLDER already is kept and brought up to date.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Beside a CPU torch the usual torchvision breaks all that imports it; unimm, imported first, cures that.
FIRST = (
    "import sysconfig, pathlib; "
    "pathlib.Path(sysconfig.get_path('purelib'), 'unimm_first.pth').write_text('import unimm\\n')"
)
CHECK = "import torchvision; from lmms_eval.models import get_model; assert not get_model('unimm').is_simple"


def pinned_torch() -> str:
    """Return the torch that constraints.txt names."""
    return re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)[0]


def commands(folder: Path, torch_index: str | None) -> list[list[str]]:
    """Return what is run, in turn: make the environment, install torch, then the rest beside it, and try."""
    python, torch = str(folder / "bin" / "python"), pinned_torch()
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    index = ["--index-url", torch_index] if torch_index else []
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, *index, torch, "torchvision"],
        [*pip, torch, "--editable", f"{ROOT}[lmms-eval]"],
        [python, "-c", FIRST],
        [python, "-c", CHECK],
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands; return the status of the first that failed, or 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / ".venv-lmms-eval")
    parser.add_argument("--torch-index", help="package index that torch and torchvision are taken from")
    parser.add_argument("--dry-run", action="store_true", help="show the commands and stop")
    given = parser.parse_args(arguments)
    for command in commands(given.folder.resolve(), given.torch_index):
        print("+", *command, flush=True)
        status = 0 if given.dry_run else subprocess.run(command, check=False).returncode
        if status:
            print(f"failed with status {status}", file=sys.stderr)
            return status
    if not given.dry_run:
        print(f"ready: {given.folder}/bin/python -m lmms_eval --model unimm --model_args pretrained=tiny ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
