"""The best of N by what the published code logs: the same candidates, in the same order."""

from __future__ import annotations

import pytest
import torch

from unimm.verify.answer_logits import answer_logits
from unimm.verify.best_of import best_of
from unimm.verify.published import RANKINGS, select

YES, NO = 1, 0


@pytest.mark.parity("eval/bestofn_select_*")
def test_the_published_selections(recorded):
    assert recorded.value["cases"]
    for case in recorded.value["cases"]:
        responses = [case["text_responses"][key] for key in sorted(case["text_responses"], key=int)]
        assert set(case["expected"]) == set(RANKINGS)
        for metric, expected in case["expected"].items():
            assert select(responses, metric, len(expected)) == expected, (case["id"], metric)


@pytest.mark.parity("eval/bestofn_select_*")
def test_our_score_and_our_choice_are_the_published_ones(recorded):
    for case in recorded.value["cases"]:
        responses = [case["text_responses"][key] for key in sorted(case["text_responses"], key=int)]
        expected = case["expected"]["answer_logits"]
        tokens = torch.tensor([[YES if r["score"] else NO] for r in responses])
        logits = torch.tensor([[r["yes_logit"] if r["score"] else r["no_logit"]] for r in responses])
        scores = answer_logits(tokens, logits, yes=[YES], no=[NO])
        chosen = best_of(
            lambda places: torch.zeros(len(places), 1),
            lambda _, places, scores=scores: scores[[i for _, i in places]],
            lambda kept: None,
            num_prompts=1,
            n=len(responses),
            keep=len(expected),
            together=3,
        )
        assert chosen.indices.tolist() == [expected], case["id"]
