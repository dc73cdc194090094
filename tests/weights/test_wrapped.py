"""Training checkpoints: the state dict inside, without the wrappers' prefixes."""

from __future__ import annotations

import pytest
import torch

from unimm.weights import DIT, unwrapped

A, B = torch.ones(1), torch.zeros(1)


@pytest.mark.parametrize(
    ("checkpoint", "choice", "wanted"),
    [
        ({"a": A, "b": B}, "ema", {"a": A, "b": B}),
        ({"ema": {"a": A}, "model": {"a": B}, "step": 3}, "ema", {"a": A}),
        ({"ema": {"a": A}, "model": {"module.a": B}, "opt": {"state": {}}}, "model", {"a": B}),
        ({"module._orig_mod.a": A, "module._orig_mod.b": B}, "ema", {"a": A, "b": B}),
        ({"_orig_mod.module.a": A}, "ema", {"a": A}),
    ],
)
def test_the_chosen_state_is_given_under_bare_names(checkpoint, choice, wanted):
    state = unwrapped(checkpoint, choice)
    assert state.keys() == wanted.keys()
    assert all(state[key] is wanted[key] for key in wanted)


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ({"model": {"a": A}, "opt": {}}, "file: expected a state dict under 'ema', found model, opt"),
        ({"ema": {"a": A, "step": 3}}, "file: expected names of tensors, got step"),
        ({}, "got nothing"),
        ({"module.a": A, "b": B}, "'module.' stands before 1 of 2 names, not before 'b'"),
    ],
)
def test_what_is_not_one_state_is_refused(checkpoint, said):
    with pytest.raises(ValueError, match=said):
        unwrapped(checkpoint, name="file")


def test_a_prefix_before_every_name_is_named():
    theirs = {f"deep.{row.theirs[0].replace('{i}', '0')}": A for row in DIT.rows}
    with pytest.raises(ValueError, match=r"every name starts with 'deep\.': read it with prefix='deep\.'"):
        DIT.read(theirs)
