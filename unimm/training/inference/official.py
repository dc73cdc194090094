"""Timing a checkout of Scale-RAE's own code (github.com/ZitengWangNYU/Scale-RAE), which brings its own
environment."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

CLI = Path("inference", "cli.py")


def checkout_seconds(checkout: Path, model: str, prompt: str, python: str = "python") -> float:
    """Return the seconds in which the command line of a checkout draws one picture, loading included.

    Args:
        checkout: the folder that holds inference/cli.py.
        model: folder or hub id, its `--model-path`.
        prompt: what to draw.
        python: the interpreter of the environment it was installed into.

    Raises:
        FileNotFoundError: there is no such file, or no such interpreter.
        ValueError: it failed; the last line that it wrote is told.
    """
    if not (checkout / CLI).is_file():
        raise FileNotFoundError(
            f"--official: expected a Scale-RAE checkout with {CLI}, found none in {checkout}"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [python, CLI.name, "t2i", "--model-path", model, "--prompt", prompt]
        command += ["--seed", "42", "--output-dir", folder]
        start = time.perf_counter()
        try:
            done = subprocess.run(command, cwd=checkout / CLI.parent, capture_output=True, text=True)
        except FileNotFoundError:
            raise FileNotFoundError(f"--official-python: there is no {python}") from None
        seconds = time.perf_counter() - start
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise ValueError(f"--official: {CLI} ended with status {done.returncode}; its last line: {said}")
        if not any(Path(folder).rglob("*.png")):
            raise ValueError(f"--official: {CLI} ended well but left no picture in its --output-dir")
    return seconds
