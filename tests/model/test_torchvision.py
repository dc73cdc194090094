"""A torchvision whose compiled part cannot load does no harm; a healthy one is left alone."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout.strip()


def test_torchvision_can_be_imported_after_unimm():
    assert run("import unimm, torchvision; print(torchvision.ops.nms.__name__)") == "nms"


FAKE = """
import sys, torch
{before}
import unimm
from unimm import _torchvision
sys.meta_path[0].find_spec("torchvision._meta_registrations")
print(_torchvision._library is not None, hasattr(torch.ops.torchvision, "nms"))
"""


def test_missing_operators_are_declared():
    assert run(FAKE.format(before="")) == "True True"


def test_where_the_operators_are_there_nothing_is_declared():
    there = 'keep = torch.library.Library("torchvision", "DEF"); keep.define("nms(Tensor a) -> Tensor")'
    assert run(FAKE.format(before=there)) == "False True"


def test_importing_unimm_alone_loads_no_torch():
    assert (
        run("import sys, unimm; print('torch' in sys.modules, 'transformers' in sys.modules)")
        == "False False"
    )
