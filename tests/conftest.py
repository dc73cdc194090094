"""What all tests share: one thread, and recorded numbers for the tests marked `parity`.

A test marked `parity("folder/file")` takes the argument `recorded` and runs once for every file of the
set that the pattern matches, with `folder/file` in its id. The set is the folder named by UNIMM_FIXTURES,
or `tests/fixtures`. Tests whose file is absent are deselected; tests/parity/test_complete.py fails for
files that no test reads.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(os.environ.get("UNIMM_FIXTURES") or Path(__file__).parent / "fixtures")
KINDS = (".safetensors", ".json")


@dataclass(frozen=True)
class Recorded:
    """One file of recorded numbers: tensors by name and metadata as strings, or a parsed JSON value.

    Tensors may come with a JSON file of the same name (their config); its value is then here too.
    """

    name: str
    tensors: dict[str, Any]
    metadata: dict[str, str]
    value: Any = None

    def under(self, prefix: str) -> dict[str, Any]:
        """Return the tensors whose names start with the prefix, without it."""
        return {key.removeprefix(prefix): x for key, x in self.tensors.items() if key.startswith(prefix)}


def recorded_files() -> dict[str, Path]:
    """Return every file of the set by its name, `folder/file` without the ending."""
    files = sorted(path for path in ROOT.glob("*/*") if path.suffix in KINDS)
    return {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in files}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recorded" not in metafunc.fixturenames:
        return
    patterns = [p for mark in metafunc.definition.iter_markers("parity") for p in mark.args]
    assert patterns, (
        f"{metafunc.function.__name__} takes `recorded` but names no file: @pytest.mark.parity('a/b')"
    )
    names = [name for name in recorded_files() if any(fnmatch(name, pattern) for pattern in patterns)]
    metafunc.parametrize("recorded", names or patterns[:1], ids=names or patterns[:1], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    present = recorded_files()
    absent = [item for item in items if _file_of(item) not in (None, *present)]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


def _file_of(item: pytest.Item) -> str | None:
    return item.callspec.params.get("recorded") if hasattr(item, "callspec") else None


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Recorded:
    """The recorded numbers of the file in this test's id."""
    path = recorded_files()[request.param]
    if path.suffix == ".json":
        return Recorded(request.param, {}, {}, json.loads(path.read_text(encoding="utf-8")))
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        metadata = file.metadata() or {}
    beside = path.with_suffix(".json")
    value = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else None
    return Recorded(request.param, tensors, metadata, value)
