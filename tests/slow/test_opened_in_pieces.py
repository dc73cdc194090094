"""Ranks that open a model together never hold it: half each, and little more on the way."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from tests.model.small import small_settings
from tests.slow.launching import run
from unimm.llm.qwen import LLMConfig
from unimm.model.config import UniMMConfig
from unimm.model.unimm import UniMM

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("opened.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model of about 300 MB, most of it in an LLM of many layers."""
    torch.manual_seed(3)
    place = tmp_path_factory.mktemp("large") / "model"
    llm = LLMConfig(300, 768, depth=12, heads=12, key_value_heads=2, mlp_width=2048, context=160)
    UniMM(UniMMConfig(small_settings(llm=llm))).save_pretrained(place, max_shard_size="80MB")
    return place


def opened(folder: Path, how: str, ranks: int) -> list[dict]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    # Freed memory goes back at once, so that what is measured is what is held.
    printed = run([*launcher, str(SCRIPT), str(folder), how], MALLOC_MMAP_THRESHOLD_="100000")
    found = re.findall(r"FACTS({.*?})", printed)  # two ranks may share a line
    return sorted(map(json.loads, found), key=lambda facts: facts["rank"])


def test_two_ranks_hold_half_a_model_each_and_little_more_while_they_open_it(folder):
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert size > 2e8
    (alone,) = opened(folder, "whole", ranks=1)
    assert alone["bytes"] > 0.95 * size, "what is measured is a model"
    pair = opened(folder, "pieces", ranks=2)
    assert [facts["sharded"] for facts in pair] == [True, True]
    assert [facts["wrong"] for facts in pair] == [0, 0]
    parameters = sum(facts["numbers"] for facts in pair)
    assert alone["numbers"] <= parameters < 1.01 * alone["numbers"], "each number once; buffers twice"
    assert max(facts["bytes"] for facts in pair) < 0.65 * size
