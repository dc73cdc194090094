"""Every file of the set of recorded numbers is read by a test."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import recorded_files


def patterns_tested() -> set[str]:
    """Return what stands in the parity marks of all test files."""
    sources = (path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py"))
    marks = (found for source in sources for found in re.findall(r"mark\.parity\(([^)]*)\)", source))
    return {pattern for mark in marks for pattern in re.findall(r'"([^"]+)"', mark)}


@pytest.mark.parity
@pytest.mark.parametrize("name", recorded_files())
def test_a_file_present_is_read_by_a_test(name):
    tested = any(fnmatch(name, pattern) for pattern in patterns_tested())
    assert tested, f"{name}: no test is marked parity({name!r})"


def test_a_set_holds_at_least_one_file():
    assert recorded_files(), "no recorded numbers found; is UNIMM_FIXTURES right?"
