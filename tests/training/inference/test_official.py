"""unimm.training.inference.official: a checkout's command line is run as it is, and its failures are told."""

from __future__ import annotations

import sys

import pytest

from unimm.training.inference.official import checkout_seconds

DRAWS = """
import sys, pathlib
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert sys.argv[1] == "t2i" and given["--model-path"] == "m" and given["--prompt"] == "a star", sys.argv
pathlib.Path(given["--output-dir"], "sample_1.png").write_bytes(b"")
"""


def checkout(folder, source):
    (folder / "inference").mkdir()
    (folder / "inference" / "cli.py").write_text(source)
    return folder


def test_it_draws_one_picture(tmp_path):
    assert checkout_seconds(checkout(tmp_path, DRAWS), "m", "a star", sys.executable) > 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise SystemExit('no module named cambrian')", "status 1; its last line: no module named cambrian"),
        ("", "left no picture"),
    ],
)
def test_its_failure_is_told(tmp_path, source, message):
    with pytest.raises(ValueError, match=message):
        checkout_seconds(checkout(tmp_path, source), "m", "a star", sys.executable)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a Scale-RAE checkout with inference/cli.py"):
        checkout_seconds(tmp_path, "m", "a star")
    with pytest.raises(FileNotFoundError, match="there is no nowhere/python"):
        checkout_seconds(checkout(tmp_path, DRAWS), "m", "a star", "nowhere/python")
