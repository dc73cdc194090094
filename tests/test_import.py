"""`import unimm` is quick and brings along nothing that is heavy or an extra."""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 2.0
TRIES = 3  # the best of them: other work on the machine is not ours to measure
EXTRAS = {
    "deepspeed", "gradio", "fastapi", "datasets", "timm", "lpips", "wandb", "torchvision", "peft",
    "diffusers", "bitsandbytes", "flash_attn", "torchmetrics", "scipy", "matplotlib",
}  # fmt: skip

PROBE = """
import json, sys, time
start = time.perf_counter()
import unimm
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules)}))
"""


def probe(code: str = PROBE) -> dict:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_import_brings_no_extra_and_no_model_zoo():
    modules = probe()["modules"]
    assert not EXTRAS & {name.partition(".")[0] for name in modules}
    assert not [name for name in modules if name.startswith("transformers.models.")]


def test_import_takes_less_than_two_seconds_when_warm():
    probe()  # warms the disk's cache and writes the byte code
    assert min(probe()["seconds"] for _ in range(TRIES)) < SECONDS


def test_public_names_are_listed_and_an_unknown_one_is_refused():
    code = """
import json, unimm
try:
    unimm.NoSuchName
    said = ""
except AttributeError as error:
    said = str(error)
print(json.dumps({"names": dir(unimm), "said": said}))
"""
    found = probe(code)
    assert "UniMM" in found["names"]
    assert "NoSuchName" in found["said"]


def test_help_needs_no_torch():
    code = """
import json, sys
from unimm.app import cli, exits
exits.run(cli.app, ["--help"])
print(json.dumps(sorted(sys.modules)))
"""
    assert "torch" not in probe(code)
