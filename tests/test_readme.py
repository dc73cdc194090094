"""What the README shows runs, and its map is the house as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import FLOOR_OF

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SET_UP = {"make demo", "make test"}  # they make an environment, and the second runs this very file


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def run(arguments: list[str], folder: Path) -> None:
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = {**os.environ, "PATH": os.pathsep.join(paths)}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"


def test_the_set_up_commands_are_there_and_the_makefile_knows_them():
    assert set(commands()) >= SET_UP
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {command.split()[1] for command in re.findall(r"make [a-z-]+", README)} - {"help"} <= set(targets)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[-1][:40])
def test_python_runs(code, tmp_path):
    run([sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code], tmp_path)


def test_commands_run_one_after_the_other(tmp_path):
    quick = [command for command in commands() if command not in SET_UP]
    assert quick
    for command in quick:
        run(shlex.split(command), tmp_path)


def test_the_map_names_every_room_and_no_other():
    package = ROOT / "unimm"
    found = {path.name for path in package.glob("[!_]*.py")}
    found |= {f"{path.name}/" for path in package.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    mapped = set(re.findall(r"^\| \d \| `unimm/([\w.]+/?)` \|", README, flags=re.MULTILINE))
    assert mapped == found


def test_the_map_and_the_law_agree_on_floors():
    for floor, room in re.findall(r"^\| (\d) \| `unimm/(\w+)", README, flags=re.MULTILINE):
        assert FLOOR_OF[room] == int(floor), room


def test_links_and_files_named_exist():
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(
        r"`([\w/.-]+\.(?:md|toml|txt))`", README
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
