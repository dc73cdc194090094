"""Every way to attend gives the same, the flash-attn package through a stand-in with its signature."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType

import pytest
import torch
from torch.nn.attention import SDPBackend

from tests.dit.small import LABELLED, awake, inputs
from unimm.dit import LightningDiT
from unimm.dit.attention import ATTENTIONS, BACKENDS, Attention, attention_kind

CPU = ("auto", "explicit", "math", "flash")
"""Those that run on a CPU; the other two of PyTorch's backends need a GPU."""
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def heads(batch=2, num_heads=4, tokens=9, head_width=8):
    return torch.randn(
        3,
        batch,
        num_heads,
        tokens,
        head_width,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    ).unbind(0)


def by_hand(q, k, v):
    """softmax(q k' / sqrt(d)) v, sample by sample and head by head."""
    rows = [
        [(a @ b.T / a.shape[-1] ** 0.5).exp() for a, b in zip(qs, ks, strict=True)]
        for qs, ks in zip(q, k, strict=True)
    ]
    return torch.stack(
        [
            torch.stack([w / w.sum(-1, keepdim=True) @ c for w, c in zip(ws, vs, strict=True)])
            for ws, vs in zip(rows, v, strict=True)
        ]
    )


@pytest.mark.parametrize("kind", CPU)
@pytest.mark.parametrize("training", [False, True])
def test_every_way_that_runs_here_agrees(kind, training):
    q, k, v = heads()
    wanted = by_hand(q, k, v)
    q, k, v = (x.float().requires_grad_(training) for x in (q, k, v))
    torch.testing.assert_close(attention_kind(kind)(q, k, v).double(), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", CPU)
def test_their_gradients_agree_too(kind):
    def gradients(attend, dtype):
        q, k, v = (x.to(dtype).requires_grad_() for x in heads())
        attend(q, k, v).square().sum().backward()
        return [x.grad.double() for x in (q, k, v)]

    exact = gradients(by_hand, torch.float64)
    for got, wanted in zip(gradients(attention_kind(kind), torch.float32), exact, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", BACKENDS)
def test_a_backend_of_pytorch_agrees_or_says_that_it_does_not_run_here(kind, device):
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    q, k, v = (x.to(device, dtype) for x in heads(head_width=64))
    if device == "cpu" and kind not in CPU:
        with pytest.raises(ValueError, match=r"does not run here, on cpu in torch.float32.*'auto'"):
            attention_kind(kind)(q, k, v)
        return
    wanted = by_hand(*(x.double() for x in (q, k, v)))
    tolerance = 1e-5 if device == "cpu" else 2e-2
    torch.testing.assert_close(attention_kind(kind)(q, k, v).double(), wanted, atol=tolerance, rtol=tolerance)


def test_pytorchs_backends_are_all_there():
    named = {
        backend for name, backend in SDPBackend.__members__.items() if name not in ("ERROR", "OVERRIDEABLE")
    }
    assert set(BACKENDS.values()) == named
    assert set(ATTENTIONS) == {"auto", "explicit", *BACKENDS, "flash_attn"}


class StandIn(ModuleType):
    """flash_attn with its documented signature: q, k, v [B N heads d] -> [B N heads d], scale 1/sqrt(d)."""

    def __init__(self):
        super().__init__("flash_attn")
        self.shapes = []

    def flash_attn_func(self, q, k, v, dropout_p=0.0, softmax_scale=None, causal=False):
        assert dropout_p == 0
        assert not causal
        assert softmax_scale is None
        self.shapes.append([tuple(x.shape) for x in (q, k, v)])
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k).mul(q.shape[-1] ** -0.5).softmax(-1)
        return torch.einsum("bhqk,bkhd->bqhd", weights, v)


def test_flash_attn_is_called_with_its_own_layout(monkeypatch):
    standin = StandIn()
    monkeypatch.setitem(sys.modules, "flash_attn", standin)
    q, k, v = heads()
    torch.testing.assert_close(attention_kind("flash_attn")(q, k, v), by_hand(q, k, v))
    assert standin.shapes == [[(2, 9, 4, 8)] * 3]


def test_what_flash_attn_does_not_take_is_named(monkeypatch):
    standin = StandIn()

    def refuse(*_):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")

    standin.flash_attn_func = refuse
    monkeypatch.setitem(sys.modules, "flash_attn", standin)
    with pytest.raises(ValueError, match="takes float16 and bfloat16 on a GPU, got torch.float64 on cpu"):
        attention_kind("flash_attn")(*heads())


def test_flash_attn_absent_is_said_when_the_network_is_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(
        ValueError, match=r"'flash_attn' needs the flash-attn package.*unimm\[flash\].*'auto'"
    ):
        Attention(32, 4, attention="flash_attn")


def test_an_unknown_way_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="got 'flash-attn'; did you mean 'flash_attn'"):
        attention_kind("flash-attn")


@pytest.mark.parametrize("kind", [*CPU, "flash_attn"])
def test_a_whole_network_gives_the_same_either_way(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", StandIn())
    plain = awake(LightningDiT(dataclasses.replace(LABELLED, attention="explicit")))
    other = awake(LightningDiT(dataclasses.replace(LABELLED, attention=kind)))
    x, t, labels = inputs(LABELLED)
    torch.testing.assert_close(other(x, t, labels), plain(x, t, labels), atol=1e-5, rtol=1e-5)


def test_heads_are_normed_one_by_one():
    attention = Attention(32, 4, qk_norm=True, rope=False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x, seen = torch.randn(2, 9, 32, generator=generator), []
    attention.attend = lambda q, k, v: seen.append((q, k)) or v
    attention(x, None, None)
    q = (x @ attention.qkv.weight[:32].T + attention.qkv.bias[:32]).reshape(2, 9, 4, 8).transpose(1, 2)
    wanted = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt() * attention.q_norm.weight
    torch.testing.assert_close(seen[0][0], wanted, atol=1e-5, rtol=1e-5)
    assert attention.q_norm.weight.shape == (8,)
