"""The cross entropy of large vocabularies: chunks, gradients, autocast, and the head that hides it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from unimm.llm import head
from unimm.llm.head import TokenHead, chunked_cross_entropy, head_of, plain_cross_entropy

SIZES = (7, 5, 11)  # K, D, V


def example(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    count, width, rows = SIZES
    states = torch.randn(count, width, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(rows, width, generator=generator, dtype=dtype, requires_grad=True)
    return states, weight, torch.randint(rows, (count,), generator=generator)


def with_gradients(function, states, weight, labels):
    loss = function(states, weight, labels)
    return loss.detach(), *torch.autograd.grad(3 * loss, (states, weight))


@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 7, 100])
def test_chunks_of_any_size_equal_the_plain_one(monkeypatch, rows_at_once):
    monkeypatch.setattr(head, "CHUNK_NUMBERS", rows_at_once * SIZES[2])
    found = with_gradients(chunked_cross_entropy, *example())
    torch.testing.assert_close(found, with_gradients(plain_cross_entropy, *example()), rtol=1e-5, atol=1e-6)


def test_autocast_computes_in_its_dtype_and_keeps_float32_gradients(monkeypatch):
    monkeypatch.setattr(head, "CHUNK_NUMBERS", 3 * SIZES[2])
    monkeypatch.setattr(head, "PART", 4)
    exact = with_gradients(plain_cross_entropy, *example())
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(chunked_cross_entropy, *example())
        plain = with_gradients(plain_cross_entropy, *example())
    assert [x.dtype for x in found] == [torch.float32] * 3
    torch.testing.assert_close(found, plain, rtol=0.02, atol=0.02)
    assert not torch.equal(found[0], exact[0])


def test_what_needs_no_gradient_gets_none():
    states, weight, labels = example()
    loss = chunked_cross_entropy(states, weight.detach(), labels)
    loss.backward()
    assert weight.grad is None
    torch.testing.assert_close(
        states.grad, torch.autograd.grad(plain_cross_entropy(states, weight, labels), states)[0]
    )
    with torch.no_grad():
        assert not chunked_cross_entropy(states, weight, labels).requires_grad


def test_gradients_are_not_scaled_twice_by_a_second_pass():
    loss = chunked_cross_entropy(*example())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="in-?place|modified"):
        loss.backward()


def test_no_chunk_holds_more_logits_than_it_may(monkeypatch):
    monkeypatch.setattr(head, "CHUNK_NUMBERS", 2 * SIZES[2])
    seen, product = [], torch.Tensor.logsumexp
    monkeypatch.setattr(
        torch.Tensor, "logsumexp", lambda x, *a, **k: seen.append(tuple(x.shape)) or product(x, *a, **k)
    )
    chunked_cross_entropy(*example())
    assert seen == [(2, 11), (2, 11), (2, 11), (1, 11)]


def test_the_head_gives_logits_or_their_cross_entropy():
    states, weight, labels = example()
    linear = nn.Linear(5, 11, bias=False)
    linear.weight = nn.Parameter(weight.detach())
    token_head = head_of(linear)
    assert isinstance(token_head, TokenHead)
    assert token_head.weight is linear.weight
    torch.testing.assert_close(token_head(states), linear(states), rtol=0, atol=0)
    torch.testing.assert_close(token_head(states, labels), plain_cross_entropy(states, weight, labels))
    with pytest.raises(ValueError, match="labels"):
        token_head(states, labels[:3])
    with pytest.raises(ValueError, match="no bias"):
        head_of(nn.Linear(2, 3))


def test_the_fused_kernel_is_asked_for_the_same_mean(monkeypatch):
    """A stand-in with the signature of Liger 0.8.5: the kernel itself runs on CUDA alone."""

    def liger_fused_linear_cross_entropy(input, weight, target, *, reduction="mean", accum_dtype=None):  # noqa: A002
        assert accum_dtype is torch.float32
        return nn.functional.cross_entropy(input @ weight.T, target, reduction=reduction)

    stand_in = ModuleType("liger_kernel.transformers.functional")
    stand_in.liger_fused_linear_cross_entropy = liger_fused_linear_cross_entropy
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    torch.testing.assert_close(head.fused_cross_entropy(*example()), plain_cross_entropy(*example()))
