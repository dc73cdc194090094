"""Every file of the set of recorded numbers is read by a test, or is listed as work to come."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import recorded_files

# What no part of the house computes yet. A row goes away with the first test that reads such a file.
LATER = ("scale_rae/e2e_tiny",)


def patterns_tested() -> set[str]:
    """Return what stands in the parity marks of all test files."""
    sources = (path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py"))
    marks = (found for source in sources for found in re.findall(r"mark\.parity\(([^)]*)\)", source))
    return {pattern for mark in marks for pattern in re.findall(r'"([^"]+)"', mark)}


@pytest.mark.parity
@pytest.mark.parametrize("name", recorded_files())
def test_a_file_present_is_read_by_a_test(name):
    tested = any(fnmatch(name, pattern) for pattern in patterns_tested())
    later = any(fnmatch(name, pattern) for pattern in LATER)
    assert tested or later, f"{name}: no test is marked parity({name!r})"
    assert not (tested and later), f"{name}: is tested; take it out of LATER"


def test_a_set_holds_at_least_one_file():
    assert recorded_files(), "no recorded numbers found; is UNIMM_FIXTURES right?"
