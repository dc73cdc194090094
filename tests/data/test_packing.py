"""unimm.data.packing: rows are filled, nothing is lost, and losses are those of rows of their own."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tests.model.small import small_model, small_tokenizer
from unimm.data.packing import MULTIPLE, Place, filled_share, first_fit_decreasing, laid_out, one_each
from unimm.llm.attention import attend_rows, train_short_rows
from unimm.model import UniMM, UniMMConfig
from unimm.parts import IGNORED, Image, Text, Turn
from unimm.text.chat import label_marks, render
from unimm.text.tokenizer import special_ids

SEE = [Turn("user", (Image(), Text("What?"))), Turn("assistant", (Text("a star"),))]
DRAW = [Turn("user", (Text("Draw a star"),)), Turn("assistant", (Image(target=True),))]
TALK = [Turn("user", (Text("Hi"),)), Turn("assistant", (Text("Hello"),))]
BOTH = [*SEE, *DRAW]
KINDS = (SEE, DRAW, TALK, BOTH, TALK, DRAW, SEE)


def samples(marks: bool = False):
    rows = [render(turns, small_tokenizer(), 9) for turns in KINDS]
    return [label_marks(row, small_tokenizer()) for row in rows] if marks else rows


def batch(rows, places):
    generator = torch.Generator().manual_seed(0)
    targets = [slots.target for row in rows for slots in row.runs]
    seen, drawn = (
        torch.randn(n, 9, 8, generator=generator) for n in (targets.count(False), targets.count(True))
    )
    return laid_out(rows, places, special_ids(small_tokenizer()).pad, seen, drawn)


def lengths(rows):
    return [len(row.ids) for row in rows]


def test_first_fit_decreasing_by_hand():
    assert first_fit_decreasing([3, 7, 5, 2, 6, 3], 10) == [
        Place(0, 7), Place(0, 0), Place(2, 0), Place(2, 5), Place(1, 0), Place(1, 6),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="at most 10 positions, got 11"):
        first_fit_decreasing([11], 10)
    with pytest.raises(ValueError, match="row_length: expected samples of at most 10"):
        one_each([11], 10)


def test_rows_are_nearly_full_and_no_two_samples_meet():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(20, 900, (200,), generator=generator).tolist()
    places = first_fit_decreasing(sizes, 1024)
    taken = torch.zeros(max(place.row for place in places) + 1, 1024, dtype=torch.int64)
    for (row, start), size in zip(places, sizes, strict=True):
        taken[row, start : start + size] += 1
    assert taken.max() == 1
    assert taken.sum() == sum(sizes)
    assert len(taken) <= 11 / 9 * -(-sum(sizes) // 1024) + 1


@pytest.mark.parametrize("marks", [False, True], ids=["standard", "reference"])
def test_a_batch_holds_every_token_label_and_picture_at_its_place(marks):
    rows = samples(marks)
    places = first_fit_decreasing(lengths(rows), 128)
    packed = batch(rows, places)
    assert packed.input_ids.shape[1] % MULTIPLE == 0
    assert len(packed.input_ids) < len(rows)
    assert filled_share(packed) == pytest.approx(sum(lengths(rows)) / packed.input_ids.numel())
    for row, (at, start) in zip(rows, places, strict=True):
        assert packed.input_ids[at, start : start + len(row.ids)].tolist() == row.ids
        assert packed.labels[at, start : start + len(row.ids)].tolist() == [IGNORED, *row.labels[1:]]
    slot = special_ids(small_tokenizer()).image_slot
    for run in packed.context_runs + packed.query_runs:
        assert (packed.input_ids[run.row, run.start : run.start + run.length] == slot).all()
        assert packed.input_ids[run.row, run.start - 1] != slot


def trained_model(implementation):
    torch.manual_seed(0)
    config = UniMMConfig(small_model().config.settings, attn_implementation=implementation)
    model = UniMM(config)
    model.load_state_dict(small_model().state_dict())
    model.tokenizer = small_tokenizer()
    return model


@pytest.mark.parametrize("kernel", ["pieces", "masked", "sdpa", "eager"])
@pytest.mark.parametrize("marks", [False, True], ids=["standard", "reference"])
def test_losses_and_gradients_are_those_of_rows_of_their_own(kernel, marks, monkeypatch):
    model = trained_model("eager" if kernel == "eager" else "sdpa")
    rows = samples(marks)
    found = {}
    for name, places in (
        ("alone", one_each(lengths(rows), 128)),
        ("packed", first_fit_decreasing(lengths(rows), 128)),
    ):
        if name == "packed" and kernel in ("pieces", "masked"):
            train_short_rows(model.llm)
        if kernel == "masked":
            from unimm.llm import attention

            monkeypatch.setattr(attention, "kernel_for", lambda query: attention.attend_masked)
        model.zero_grad(set_to_none=True)
        data = batch(rows, places)
        assert bool(data.samples) == (name == "packed")
        losses = model.training_losses(data, noise_draws=2, generator=torch.Generator().manual_seed(3))
        (losses.ce + 2 * losses.flow).backward()
        gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
        found[name] = (losses.ce.detach(), losses.flow.detach(), gradients)
    (ce, flow, gradients), (packed_ce, packed_flow, packed) = found["alone"], found["packed"]
    torch.testing.assert_close(packed_ce, ce, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed_flow, flow, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == packed.keys()
    errors = {key: (packed[key] - gradient).norm() for key, gradient in gradients.items()}
    whole = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert torch.stack(list(errors.values())).norm() < 1e-5 * whole
    wrong = [key for key, error in errors.items() if error > 1e-4 * gradients[key].norm() + 1e-6 * whole]
    assert not wrong


def test_a_neighbour_changes_nothing():
    model = trained_model("sdpa")
    train_short_rows(model.llm)
    rows = samples()
    places = first_fit_decreasing(lengths(rows), 128)
    data, other = batch(rows, places), batch(rows, places)
    row, start = places[0]
    neighbours = torch.ones_like(other.input_ids, dtype=torch.bool)
    neighbours[row, start : start + len(rows[0].ids)] = False
    other.input_ids = torch.where(neighbours & (other.labels != IGNORED), 5, other.input_ids)
    assert not torch.equal(other.input_ids, data.input_ids)
    there = slice(start, start + len(rows[0].ids))
    assert torch.equal(model(data)[row, there], model(other)[row, there])


def test_long_samples_and_padding_between_rows(monkeypatch):
    """Above SHORT the fused kernel works; pieces and mask agree, forward and backward."""
    from unimm.llm import attention

    samples = [attention.Run(0, 0, 200), attention.Run(0, 200, 30), attention.Run(1, 0, 250)]
    segments = attention.segments_of(samples, (2, 256), torch.device("cpu"))
    assert segments.lengths == (200, 30, 26, 250, 6)
    assert segments.positions[0, 199:202].tolist() == [199, 0, 1]
    assert segments.bounds.tolist() == [0, 200, 230, 256, 506, 512]
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, h, 256, 8, generator=generator).requires_grad_() for h in (4, 2, 2))
    filled = torch.zeros(2, 256, dtype=torch.bool)
    filled[0, :230] = filled[1, :250] = True
    results = []
    for kernel in (attention.attend_pieces, attention.attend_masked):
        monkeypatch.setattr(attention, "kernel_for", lambda query, kernel=kernel: kernel)
        out = attend_rows(None, query, key, value, None, segments)[0][filled]
        results.append((out, *torch.autograd.grad(out.square().sum(), (query, key, value))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_flash_attention_gets_bounds_and_cuda_the_varlen_kernel(monkeypatch):
    """Without a GPU: the arguments are right if a plain attention by them gives what the pieces give."""
    from torch.nn.attention import varlen

    from unimm.llm import attention

    samples = [attention.Run(0, 0, 5), attention.Run(0, 5, 3), attention.Run(1, 0, 7)]
    segments = attention.segments_of(samples, (2, 8), torch.device("cpu"))
    given = attention.packed_arguments("flash_attention_2", segments, torch.float32)
    assert given["cu_seq_lens_q"].dtype == torch.int32
    assert (given["max_length_q"], given["attention_mask"]) == (7, {"full_attention": None})

    def plain(q, k, v, begins, ends, longest, _, window_size):
        assert window_size == (-1, 0)
        assert torch.equal(begins, ends)
        pieces = pairwise(begins.tolist())
        attend = torch.nn.functional.scaled_dot_product_attention
        parts = [[x[a:b].transpose(0, 1) for x in (q, k, v)] for a, b in pieces]
        return torch.cat([attend(*part, is_causal=True).transpose(0, 1) for part in parts])

    monkeypatch.setattr(varlen, "varlen_attn", plain)
    query, key, value = (torch.randn(2, h, 8, 4) for h in (4, 2, 2))
    filled = torch.tensor([[True] * 8, [True] * 7 + [False]])
    ours = attention.attend_varlen(query, key, value, segments)[filled]
    torch.testing.assert_close(ours, attention.attend_pieces(query, key, value, segments)[filled])


def test_samples_that_meet_are_refused():
    from unimm.llm.attention import segments_of
    from unimm.parts import Run

    for runs in ([Run(0, 0, 5), Run(0, 4, 2)], [Run(0, 5, 4)], [Run(1, 0, 1)]):
        with pytest.raises(ValueError, match="expected them apart within 1 rows of 8"):
            segments_of(runs, (1, 8), torch.device("cpu"))
