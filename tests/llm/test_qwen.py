"""The language model is transformers' Qwen2 of the sizes asked for."""

from __future__ import annotations

import pytest
import torch

from unimm.llm.queries import QueryTokens
from unimm.llm.qwen import LLMConfig, build_llm

SIZES = {"vocab_size": 50, "width": 16, "depth": 2, "heads": 4, "key_value_heads": 2, "mlp_width": 24}


def test_sizes_are_those_of_the_published_architecture():
    with torch.device("meta"):
        llm = build_llm(LLMConfig(151667, 1536, 28, 12, 2, 8960))
    # Qwen2.5-1.5B: 1.31 B parameters outside the embeddings, and one tied embedding of 151667 rows.
    assert sum(p.numel() for p in llm.parameters()) - 151667 * 1536 == 1_310_340_608
    assert llm.config.rope_parameters["rope_theta"] == 1e6


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_tied_if_asked(tied):
    llm = build_llm(LLMConfig(**SIZES, tied_embeddings=tied))
    assert (llm.lm_head.weight is llm.model.embed_tokens.weight) == tied


def test_sizes_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match=r"llm\.width: expected a multiple of heads=3, got 16"):
        LLMConfig(**{**SIZES, "heads": 3})
    with pytest.raises(ValueError, match="key_value_heads=3"):
        LLMConfig(**{**SIZES, "key_value_heads": 3})


def test_queries_are_copied_for_each_image_and_trained_by_all():
    queries = QueryTokens(3, 4)
    out = queries(2)
    assert torch.equal(out[0], queries.weight)
    out.sum().backward()
    assert queries.weight.grad.unique().tolist() == [2.0]
