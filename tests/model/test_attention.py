"""The attention that a caller asks for is the language model's, in training too."""

from __future__ import annotations

import pytest
import torch

from tests.model.small import small_model
from unimm import UniMM
from unimm.llm.attention import train_short_rows


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_the_language_model_attends_as_asked(tmp_path, name):
    small_model().save_pretrained(tmp_path)
    model = UniMM.from_pretrained(tmp_path, attn_implementation=name)
    layer = model.llm.model.layers[0].self_attn
    assert layer.config._attn_implementation == name
    train_short_rows(model.llm)
    assert (layer.config._attn_implementation == name) == (name != "sdpa")


def test_every_attention_gives_the_same_states(tmp_path):
    small_model().save_pretrained(tmp_path)
    ids = torch.arange(12).view(2, 6)
    eager, sdpa = (
        UniMM.from_pretrained(tmp_path, attn_implementation=name).llm(ids).logits
        for name in ("eager", "sdpa")
    )
    torch.testing.assert_close(eager, sdpa, rtol=1e-4, atol=1e-5)


def test_an_attention_that_is_not_there_is_refused(tmp_path):
    small_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="nope"):
        UniMM.from_pretrained(tmp_path, attn_implementation="nope")
