"""Passes counted on shapes, against sums by hand and against a real pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from unimm.training.plan.passes import Pass, count_pass, peak_bytes

B, D, H = 6, 5, 7


def two_layers(precision):
    with FakeTensorMode():
        layers = nn.Sequential(nn.Linear(D, H, bias=False), nn.GELU(), nn.Linear(H, D, bias=False))
        x = torch.empty(B, D, requires_grad=True)
        return count_pass(lambda: layers(x), list(layers.parameters()), precision)


def test_a_small_network_saves_what_its_backward_pass_reads():
    found = two_layers("float32")
    assert found.saved_bytes == 4 * (B * D + B * H + B * H)  # input, before and after the GELU
    assert found.flops == 2 * B * D * H * 2


def test_autocast_saves_activations_and_cast_weights_in_two_bytes():
    assert two_layers("bf16").saved_bytes == 2 * (B * D + 2 * B * H + 2 * D * H)


def test_gradients_come_while_activations_go():
    first, second = Pass(100, 0, 30), Pass(20, 0, 70)
    assert (
        peak_bytes([first, second], None) == 100 + 70
    )  # the second's gradients beside the first's activations
    assert peak_bytes([Pass(100, 0, 30), Pass(90, 0, 10)], None) == 190
    assert peak_bytes([Pass(1, 0, 30), Pass(2, 0, 50)], None) == 80
    assert peak_bytes([first, second], 100) == 220


def test_what_a_room_needs_for_a_while_counts_while_it_is_there():
    assert peak_bytes([Pass(10, 0, transient_bytes=50), Pass(20, 0)], None) == 60
    assert peak_bytes([Pass(10, 0, transient_bytes=50), Pass(70, 0)], None) == 80


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_shapes_count_what_a_real_pass_saves(precision):
    def count():
        torch.manual_seed(0)
        attention = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
        x = torch.ones(2, 3, 8, requires_grad=True)
        return count_pass(lambda: attention(x), list(attention.parameters()), precision)

    real = count()
    with FakeTensorMode():
        assert count() == real
