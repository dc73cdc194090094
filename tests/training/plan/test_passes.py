"""Passes counted on shapes, against sums by hand and against a real pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from unimm.training.plan.passes import Pass, count_pass, peak_bytes, with_gradients

B, D, H = 6, 5, 7
INPUT, HIDDEN, WEIGHTS = B * D, B * H, D * H
PRODUCT = 2 * B * D * H


def layers():
    return nn.Sequential(nn.Linear(D, H, bias=False), nn.GELU(), nn.Linear(H, D, bias=False))


def counted(network, precision="float32", wants=True, around=None):
    run = network if around is None else around
    return count_pass(lambda: run(torch.empty(B, D, requires_grad=wants)), network, precision)


def two_layers(precision):
    with FakeTensorMode():
        return counted(layers(), precision)


def test_a_small_network_keeps_what_its_backward_pass_reads_and_its_result():
    found = two_layers("float32")
    assert found.saved_bytes == 4 * (INPUT + HIDDEN + HIDDEN + INPUT)  # around the layers and the GELU
    assert (found.forward_flops, found.backward_flops) == (2 * PRODUCT, 4 * PRODUCT)
    assert found.gradient_bytes == 4 * 2 * WEIGHTS


def test_the_backward_pass_is_fullest_where_a_layer_has_both_its_gradients():
    """In the last layer, whose output's gradient is there too, and nothing before it is gone."""
    kept = INPUT + HIDDEN + HIDDEN + INPUT
    assert two_layers("float32").backward_bytes == 4 * (kept + INPUT + WEIGHTS + HIDDEN)


def test_autocast_keeps_activations_and_cast_weights_in_two_bytes():
    assert two_layers("bf16").saved_bytes == 4 * INPUT + 2 * (INPUT + 2 * HIDDEN + INPUT + 2 * WEIGHTS)


def test_what_is_frozen_saves_nothing_unless_something_before_it_learns():
    with FakeTensorMode():
        network = layers().requires_grad_(False)
        still = counted(network, wants=False)
        assert (still.saved_bytes, still.backward_flops, still.gradient_bytes) == (0, 0, 0)
        assert still.forward_bytes == 4 * (INPUT + 2 * HIDDEN)  # before the last layer; then one goes
        passed_on = counted(network)
        assert passed_on.backward_flops == 2 * PRODUCT  # no weight's gradient
        network[2].requires_grad_(True)
        assert counted(network, wants=False).backward_flops == PRODUCT  # of the last weight alone


def test_gradients_that_are_there_are_added_to():
    with FakeTensorMode():
        network = layers()
        with with_gradients(network.parameters()):
            assert counted(network).gradient_bytes == 0
        assert network[0].weight.grad is None


def test_what_is_computed_again_is_not_kept_and_counts_again():
    with FakeTensorMode():
        network = layers()
        plain = counted(network)
        again = counted(network, around=lambda x: checkpoint(network, x, use_reentrant=False))
    assert again.saved_bytes == 4 * 2 * INPUT  # what goes in and what comes out
    assert plain.backward_flops < again.backward_flops <= plain.backward_flops + plain.forward_flops


def test_fused_attention_is_two_products_forward_and_four_backward():
    tokens, width = 16, 8

    def attend():
        q = torch.empty(1, 2, tokens, width, requires_grad=True)
        return F.scaled_dot_product_attention(q, q, q)

    with FakeTensorMode():
        found = count_pass(attend, [], "float32")
    product = 2 * 2 * tokens * tokens * width
    assert (found.forward_flops, found.backward_flops) == (2 * product, 4 * product)


def test_gradients_come_while_activations_go():
    first = Pass(saved_bytes=100, forward_bytes=100, backward_bytes=110, gradient_bytes=30)
    second = Pass(saved_bytes=20, forward_bytes=25, backward_bytes=80, gradient_bytes=70)
    assert peak_bytes([first, second]) == 100 + 80  # the second on the way back
    assert peak_bytes([first, second._replace(backward_bytes=20)]) == 70 + 110  # the first
    assert peak_bytes([first, second._replace(forward_bytes=500)]) == 100 + 500


def test_a_room_without_a_way_back_counts_while_it_is_there():
    assert (
        peak_bytes([Pass(forward_bytes=60), Pass(saved_bytes=20, forward_bytes=20, backward_bytes=30)]) == 60
    )


def test_rounds_without_gradients_take_their_memory_once():
    with FakeTensorMode():
        network = layers().requires_grad_(False)
        once, thrice = (
            count_pass(lambda: network(torch.empty(B, D)), network, "float32", times) for times in (1, 3)
        )
    assert thrice == once._replace(forward_flops=3 * once.forward_flops)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_shapes_count_what_a_real_pass_takes(precision):
    def count():
        torch.manual_seed(0)
        attention = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
        return count_pass(lambda: attention(torch.ones(2, 3, 8, requires_grad=True)), attention, precision)

    real = count()
    with FakeTensorMode():
        assert count() == real
