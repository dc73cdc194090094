"""Published SiT, DiT and REPA files: names both ways, sizes, directions of time, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.alignment import Projectors
from unimm.dit.sit import SiT, SiTConfig
from unimm.weights import load_strictly
from unimm.weights.sit import SitFile, modern_names, read_sit, write_sit

SIZES = {
    "channels": 3,
    "width": 24,
    "depth": 3,
    "heads": 2,
    "condition_width": 24,
    "grid": 6,
    "mlp_width": 96,
    "num_classes": 5,
}


def awake(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module


def published(targets=(), **sizes):
    """Return (network, file of it under the published names, its sizes as read back)."""
    config = SiTConfig(**SIZES | sizes)
    sit = awake(SiT(config))
    projectors = dict(awake(Projectors(24, targets, hidden=8)).state_dict()) if targets else {}
    return sit, write_sit(SitFile(dataclasses.asdict(config), dict(sit.state_dict()), projectors))


def inputs():
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 36, 3, generator=generator),
        torch.rand(2, generator=generator),
        torch.tensor([4, 0]),
    )


def built(file):
    sit = SiT(SiTConfig(**file.sizes))
    load_strictly(sit, file.parameters)
    return sit


def test_a_file_of_repa_has_the_published_names_and_shapes():
    _, theirs = published(targets=(7, 9))
    shapes = {name: tuple(x.shape) for name, x in theirs.items()}
    assert len(shapes) == 1 + 2 + 4 + 1 + 3 * 10 + 2 * 6 + 4
    assert shapes["pos_embed"] == (1, 9, 24)
    assert shapes["x_embedder.proj.weight"] == (24, 3, 2, 2)
    assert shapes["t_embedder.mlp.0.weight"] == (24, 256)
    assert shapes["y_embedder.embedding_table.weight"] == (6, 24)
    assert shapes["blocks.2.adaLN_modulation.1.weight"] == (144, 24)
    assert shapes["projectors.1.4.weight"] == (9, 8)
    assert shapes["final_layer.linear.weight"] == (12, 24)


def test_what_is_written_is_read_back_with_its_sizes():
    sit, theirs = published(targets=(7, 9))
    file = read_sit(theirs, "repa", heads=2)
    assert SiTConfig(**file.sizes) == sit.config
    assert torch.equal(built(file)(*inputs()), sit(*inputs()))
    projectors = Projectors(24, (7, 9), hidden=8)
    load_strictly(projectors, file.projectors)
    assert not read_sit(published()[1], "repa", heads=2).projectors


def test_an_original_sit_runs_the_other_way():
    raw, theirs = published(learn_sigma=True)  # as its own code runs it: t = 0 is noise, v = x - e
    file = read_sit(theirs, "sit", heads=2)
    assert file.sizes["time_reversed"]
    assert file.sizes["learn_sigma"]
    x, t, labels = inputs()
    torch.testing.assert_close(built(file)(x, t, labels), -raw(x, 1 - t, labels))
    assert all(torch.equal(written, theirs[name]) for name, written in write_sit(file).items())


def test_an_original_dit_is_fed_with_steps_and_tells_the_noise(monkeypatch):
    monkeypatch.setattr("unimm.dit.time.refuse_strange_times", lambda t: None)  # raw takes steps as they are
    raw, theirs = published(learn_sigma=True)
    dit = built(read_sit(theirs, "dit", heads=2))
    x, _, labels = inputs()
    steps = torch.tensor([999.0, 333.0])
    torch.testing.assert_close(dit(x, steps / 999, labels), raw(x, steps, labels), atol=1e-4, rtol=1e-4)


def test_the_oldest_names_of_repa_count_on_from_the_encoder():
    sit, theirs = published(targets=(7,))
    old = {name.replace("blocks.2.", "decoder_blocks.1."): x for name, x in theirs.items()}
    old = {name.replace("blocks.1.", "decoder_blocks.0.") if name.startswith("blocks.1.") else name: x
           for name, x in old.items()}  # fmt: skip
    assert "decoder_blocks.1.attn.qkv.weight" in old
    assert modern_names(old).keys() == theirs.keys()
    assert torch.equal(built(read_sit(old, "repa", heads=2))(*inputs()), sit(*inputs()))


def test_published_widths_tell_their_heads():
    theirs = published(width=384, condition_width=384, heads=6, depth=1, mlp_width=1536)[1]
    assert read_sit(theirs, "repa").sizes["heads"] == 6


@pytest.mark.parametrize(
    ("change", "layout", "said"),
    [
        (lambda s: s.pop("blocks.1.attn.qkv.bias"), "repa", r"missing: blocks\.1\.attn\.qkv\.bias"),
        (lambda s: s.update({"blocks.1.norm1.bias": torch.ones(1)}), "repa", r"unexpected: blocks\.1\.norm1"),
        (lambda s: s.pop("projectors.0.2.bias"), "repa", r"missing: projectors\.0\.2\.bias"),
        (lambda s: s.pop("y_embedder.embedding_table.weight"), "repa", "missing: y_embedder"),
        (lambda s: s["pos_embed"].add_(0.1), "repa", "differing: positions"),
        (lambda s: None, "sti", "did you mean 'sit'"),
    ],
)
def test_what_does_not_fit_is_listed(change, layout, said):
    theirs = published(targets=(7,))[1]
    change(theirs)
    with pytest.raises(ValueError, match=said):
        read_sit(theirs, layout, heads=2)


def test_wrong_prefixes_are_refused():
    theirs = {f"model.{name}": x for name, x in published()[1].items()}
    with pytest.raises(ValueError, match="missing: "):
        read_sit(theirs, "repa", heads=2)


def test_an_original_file_is_not_taken_for_one_of_repa():
    with pytest.raises(ValueError, match="put out 3 channels, this one 6; is it 'sit' or 'dit'"):
        read_sit(published(learn_sigma=True)[1], "repa", heads=2)


def test_projectors_belong_to_repa_alone():
    with pytest.raises(ValueError, match=r"unexpected: projectors\.0\.0"):
        read_sit(published(targets=(7,), learn_sigma=True)[1], "sit", heads=2)


def test_heads_that_nobody_tells_are_asked_for():
    with pytest.raises(ValueError, match="the tensors do not tell heads; give them"):
        read_sit(published()[1], "repa")
