"""The house keeps its floors: no import points up or sideways, and each outside door has one owner."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "unimm"
RECIPES = ("train", "eval", "tools")  # run from the repository, not installed
RECIPE_LINES = 120  # a page or two

FLOORS = (
    {"shapes", "config", "parts", "request", "files", "loaded", "tables", "whole"},
    {
        "text", "llm", "projector", "connector", "dit", "flow", "latents", "perceptual", "alignment",
        "verify", "weights", "world",
    },
    {"model", "generator"},
    {"data", "chat"},
    {"training", "evaluation"},
    {"app"},
)  # fmt: skip
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PUBLIC_FLOOR = FLOOR_OF["model"]  # where the names live that `from unimm import ...` gives
NOT_ROOMS = {"__init__", "assets"}

# Who may import a package that is an extra: a file, or a folder (ends in /); always inside a function.
OWNERS = {
    "deepspeed": ("training/engine.py",),
    "wandb": ("training/log.py",),
    "timm": ("latents/", "training/adversary/"),
    "lpips": ("perceptual/",),
    "diffusers": ("latents/vae.py",),
    "flash_attn": ("dit/attention.py",),
    "liger_kernel": ("llm/head.py",),
    "peft": ("model/adapters.py",),
    "datasets": ("data/", "evaluation/vqa/sources.py"),
    "pyarrow": ("data/",),
    "sentencepiece": ("text/",),
    "torchdiffeq": ("flow/adaptive.py",),
    "torchmetrics": ("evaluation/",),
    "torch_fidelity": ("evaluation/metrics/published.py",),
    "scipy": ("evaluation/",),
    "lmms_eval": ("evaluation/bridges/",),
    "matplotlib": ("evaluation/",),
    "gradio": ("app/",),
    "fastapi": ("app/",),
    "uvicorn": ("app/",),
    "bitsandbytes": (),  # through transformers only
    "torchvision": (),
    "accelerate": (),
}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "flash_attn": "flash-attn",
    "lmms_eval": "lmms-eval",
    "torch_fidelity": "torch-fidelity",
    "liger_kernel": "liger-kernel",
}  # where the name of the import is another


class Import(NamedTuple):
    line: int
    name: str  # dotted; "" where it is relative
    lazy: bool  # inside a function, or for type checkers only


def imports(source: str) -> Iterator[Import]:
    """Yield every import of a source file, those inside functions and for type checkers too."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield Import(node.lineno, "", lazy)
            elif node.module == "unimm":
                yield from (Import(node.lineno, f"unimm.{alias.name}", lazy) for alias in node.names)
            else:
                yield Import(node.lineno, node.module, lazy)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(source), False)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room_of(path: str) -> str:
    """Return the room of a file, given its path inside unimm/."""
    return Path(path).parts[0].removesuffix(".py")


def offences(path: str, source: str) -> list[str]:
    """Return what is wrong with the imports of one file of the package, given its path inside unimm/."""
    return [
        f"unimm/{path}:{found.line}: {wrong}"
        for found in imports(source)
        if (wrong := offence(path, found)) is not None
    ]


def offence(path: str, found: Import) -> str | None:
    """Return what is wrong with one import, or None."""
    package, _, rest = found.name.partition(".")
    if not found.name:
        return "relative import; imports are absolute"
    if package in (*RECIPES, "tests"):
        return f"imports {package}/, which is not installed"
    if package == "unimm":
        return floor_offence(room_of(path), rest.partition(".")[0])
    if package not in OWNERS:
        return None
    if not any(path.startswith(owner) if owner.endswith("/") else path == owner for owner in OWNERS[package]):
        return f"imports {package}; only {' and '.join(OWNERS[package]) or 'nobody'} may"
    return (
        None
        if found.lazy
        else f"imports {package}, an extra, at the top; import it inside the function that needs it"
    )


def floor_offence(room: str, other: str) -> str | None:
    if room == "__init__" or other == room:
        return None  # the front door names what lies behind it, and a room is free within itself
    if not other:
        return "imports the whole of unimm; name the room"
    floor = FLOOR_OF.get(room, 0)  # a private file is a part of the ground floor
    if FLOOR_OF.get(other, PUBLIC_FLOOR) < floor:
        return None
    return f"imports unimm.{other}; {room} stands on floor {floor} and may import only lower floors"


def package_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def recipe_files() -> list[Path]:
    return sorted(path for folder in RECIPES for path in (ROOT / folder).rglob("*.py"))


def test_imports_point_down_and_each_door_has_one_owner():
    files = package_files()
    assert len(files) > 20, "the package was not found"
    wrong = [
        line
        for file in files
        for line in offences(file.relative_to(PACKAGE).as_posix(), file.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_new_room_does_not_arrive_unnoticed():
    found = {
        entry.stem if entry.is_file() else entry.name
        for entry in PACKAGE.iterdir()
        if entry.suffix == ".py" or (entry.is_dir() and any(entry.rglob("*.py")))
    }
    private = {room for room in found if room.startswith("_") and room != "__init__"}
    strangers = found - private - NOT_ROOMS - set(FLOOR_OF)
    assert not strangers, f"give these rooms a floor: {sorted(strangers)}"


def test_every_folder_of_the_package_has_an_init():
    folders = {path.parent for path in package_files()}
    bare = sorted(
        str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()
    )
    assert not bare, f"without __init__.py these are left out of the installed package: {bare}"


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("flow/loss.py", "from unimm.dit.lightning import LightningDiT", "floor 1"),
        ("flow/loss.py", "import unimm.model", "floor 1"),
        ("flow/loss.py", "def f():\n    from unimm import UniMM", "floor 1"),
        ("training/loop.py", "from unimm.evaluation import world", "floor 4"),
        ("shapes.py", "from unimm.config import load", "floor 0"),
        ("flow/loss.py", "from .path import interpolate", "relative"),
        (
            "flow/loss.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import unimm.app",
            "floor 1",
        ),
        ("app/cli.py", "from train.joint import main", "not installed"),
        ("training/loop.py", "def f():\n    import deepspeed", "only training/engine.py may"),
        ("training/engine.py", "import deepspeed", "inside the function"),
        ("model/unimm.py", "def f():\n    from torchvision.ops import nms", "nobody"),
    ],
)
def test_an_offence_is_named(path, source, said):
    found = offences(path, source)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("flow/loss.py", "from unimm.flow.path import interpolate\nfrom unimm.shapes import expect"),
        ("app/cli.py", "from unimm import UniMM"),
        ("training/engine.py", "def f():\n    import deepspeed"),
        ("latents/encoder.py", "def f():\n    import timm.models"),
    ],
)
def test_what_is_allowed_is_not_an_offence(path, source):
    assert offences(path, source) == []


def test_every_package_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in lines}
    undeclared = {}
    for file in package_files():
        for found in imports(file.read_text(encoding="utf-8")):
            top = found.name.partition(".")[0]
            if top in sys.stdlib_module_names or top in ("", "unimm"):
                continue
            if DISTRIBUTIONS.get(top, top).lower() not in declared:
                undeclared[top] = f"{file.relative_to(ROOT)}:{found.line}"
    assert not undeclared, f"not in pyproject.toml: {undeclared}"


def test_recipes_are_thin():
    wrong = []
    for file in recipe_files():
        source, name = file.read_text(encoding="utf-8"), file.relative_to(ROOT)
        if len(source.splitlines()) > RECIPE_LINES:
            wrong.append(f"{name}: {len(source.splitlines())} lines; move its logic into the package")
        wrong += [
            f"{name}:{n.lineno}: defines a class"
            for n in ast.walk(ast.parse(source))
            if isinstance(n, ast.ClassDef)
        ]
        wrong += [f"{name}:{found.line}: relative import" for found in imports(source) if not found.name]
    assert not wrong, "\n".join(wrong)
