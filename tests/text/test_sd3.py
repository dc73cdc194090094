"""SD3's text conditioning: where every tower's numbers stand, what is dropped, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from tests.text.small_sd3 import PROMPTS, small_config, small_text
from unimm.text.clip import CLIP_G, CLIP_L, CLIPTower
from unimm.text.sd3 import (
    DROP_PROBABILITY,
    TOWERS,
    SD3Text,
    SD3TextConfig,
    drop_encoders,
    layout,
)
from unimm.text.t5 import T5_XXL

SUBSETS = [names for size in range(4) for names in combinations(TOWERS, size)]


def clip_by_hand(tower: CLIPTower, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The last-but-one block's states and the projected end state, written out from the weights."""
    config, weights = tower.config, dict(tower.model.named_parameters())
    act = F.gelu if config.activation == "gelu" else lambda x: x * torch.sigmoid(1.702 * x)

    def linear(x, name):
        return F.linear(x, weights[name + ".weight"], weights.get(name + ".bias"))

    def norm(x, name):
        return F.layer_norm(x, (config.width,), weights[name + ".weight"], weights[name + ".bias"], 1e-5)

    root, x = "text_model.", weights["text_model.embeddings.token_embedding.weight"][ids]
    x = x + weights[root + "embeddings.position_embedding.weight"]
    after = []
    for i in range(config.depth):
        block = f"{root}encoder.layers.{i}."
        h = norm(x, block + "layer_norm1")
        heads = [
            linear(h, f"{block}self_attn.{n}_proj").unflatten(-1, (config.heads, -1)).transpose(1, 2)
            for n in "qkv"
        ]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(mixed, block + "self_attn.out_proj")
        h = act(linear(norm(x, block + "layer_norm2"), block + "mlp.fc1"))
        x = x + linear(h, block + "mlp.fc2")
        after.append(x)
    end = (ids == config.vocab_size - 1).int().argmax(1)
    final = norm(x, root + "final_layer_norm")[torch.arange(len(ids)), end]
    return after[-2], linear(final, "text_projection")


def test_the_layout_is_the_papers():
    text = small_text()
    tokens = text.tokenize(PROMPTS)
    sequence, pooled = text(tokens)
    (l_states, l_pooled), (g_states, g_pooled) = (
        clip_by_hand(text.towers[name], tokens.ids[name]) for name in ("clip_l", "clip_g")
    )
    t5_states = text.towers["t5"].encoder(input_ids=tokens.ids["t5"]).last_hidden_state
    assert sequence.shape == (3, 10 + 7, 32)
    torch.testing.assert_close(sequence[:, :10, :8], l_states, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sequence[:, :10, 8:20], g_states, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sequence[:, 10:, :16], t5_states)
    assert (sequence[:, :10, 20:] == 0).all()
    assert (sequence[:, 10:, 16:] == 0).all()
    torch.testing.assert_close(pooled, torch.cat([l_pooled, g_pooled], 1), rtol=1e-5, atol=1e-6)


def test_the_published_sizes_are_the_papers():
    config = SD3TextConfig()
    assert (config.num_tokens, config.width, config.pooled_width) == (154, 4096, 2048)
    assert replace(config, t5=replace(T5_XXL, tokens=256)).num_tokens == 333
    with torch.device("meta"):
        text = SD3Text(config)
    counts = {name: sum(p.numel() for p in tower.parameters()) for name, tower in text.towers.items()}
    # Embeddings, blocks, norms and projection, counted from the sizes.
    for name, c in (("clip_l", CLIP_L), ("clip_g", CLIP_G)):
        block = 4 * c.width * (c.width + 1) + 2 * c.width * c.mlp_width + c.mlp_width + 5 * c.width
        ends = (c.vocab_size + c.tokens + 2 + c.pooled_width) * c.width
        assert counts[name] == c.depth * block + ends
    c, inner = T5_XXL, T5_XXL.heads * T5_XXL.head_width
    block = 4 * c.width * inner + 3 * c.width * c.mlp_width + 2 * c.width
    assert counts["t5"] == c.depth * block + (c.vocab_size + 1) * c.width + 32 * c.heads
    assert [round(counts[name] / 1e6, 1) for name in TOWERS] == [123.7, 694.7, 4762.3]


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_an_absent_tower_is_the_same_as_a_dropped_one(names):
    whole, some = small_text(), small_text(names)
    for name in names:
        some.towers[name].load_state_dict(whole.towers[name].state_dict())
    without = [name for name in TOWERS if name not in names]
    for left, right in zip(some.encode(PROMPTS), whole.encode(PROMPTS, without=without), strict=True):
        assert torch.equal(left, right)


def test_without_t5_its_rows_are_zeros_and_the_others_stay():
    text = small_text()
    sequence, pooled = text.encode(PROMPTS)
    shorter, same = text.encode(PROMPTS, without=["t5"])
    assert (shorter[:, 10:] == 0).all()
    assert torch.equal(shorter[:, :10], sequence[:, :10])
    assert torch.equal(same, pooled)


def test_a_tower_that_is_left_out_is_not_run(monkeypatch):
    text = small_text()
    monkeypatch.setattr(text.towers["t5"], "forward", lambda ids: pytest.fail("T5 was run"))
    text.encode(PROMPTS, without="t5")


def test_each_sample_drops_its_own_encoders():
    text = small_text()
    dropped = torch.tensor([[True, False, False], [False, True, True], [True, True, True]])
    sequence, pooled = text(text.tokenize(PROMPTS), dropped)
    for row in range(3):
        without = [name for name, gone in zip(TOWERS, dropped[row].tolist(), strict=True) if gone]
        alone = text.encode(PROMPTS[row : row + 1], without=without)
        torch.testing.assert_close(sequence[row], alone[0][0])
        torch.testing.assert_close(pooled[row], alone[1][0])
    nothing = text.nothing(1)
    assert torch.equal(sequence[2], nothing[0][0])
    assert torch.equal(pooled[2], nothing[1][0])


def test_a_dropped_tower_that_overflowed_is_still_zeros():
    config = small_config(("clip_l", "t5"), clip_g=None)
    states = {"clip_l": torch.full((1, 10, 8), torch.inf), "t5": torch.ones(1, 7, 16)}
    dropped = torch.tensor([[True, False, False]])
    sequence, _ = layout(config, torch.zeros(1), states, {"clip_l": torch.ones(1, 6)}, dropped)
    assert (sequence[:, :10] == 0).all()


def test_gradients_reach_the_towers_that_are_kept():
    text = small_text().requires_grad_(True)
    dropped = torch.tensor([[False, True, False]] * 3)
    sequence, pooled = text(text.tokenize(PROMPTS), dropped)
    (sequence.square().sum() + pooled.square().sum()).backward()

    def gradient(name):
        return sum(float(p.grad.abs().sum()) for p in text.towers[name].parameters() if p.grad is not None)

    assert gradient("clip_l") > 0
    assert gradient("t5") > 0
    assert gradient("clip_g") == 0


def test_encoders_are_dropped_independently_with_the_papers_probability():
    count = 40_000
    dropped = drop_encoders(count, generator=torch.Generator().manual_seed(0)).float()
    p = DROP_PROBABILITY
    spread = 4 * (p * (1 - p) / count) ** 0.5  # four standard deviations
    assert (dropped.mean(0) - p).abs().max() < spread
    for i, j in combinations(range(3), 2):
        assert abs(float((dropped[:, i] * dropped[:, j]).mean()) - p * p) < spread
    assert abs(float(dropped.prod(1).mean()) - p**3) < spread  # a tenth sees no text
    assert p**3 == pytest.approx(0.1, abs=2e-4)


def test_a_draw_of_drops_is_its_generators():
    first, again = (drop_encoders(20, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert drop_encoders(20, 0.0, generator=torch.Generator()).sum() == 0
    assert drop_encoders(20, 1.0, generator=torch.Generator()).all()
    with pytest.raises(ValueError, match=r"drop probability: expected a number in \[0, 1\], got 1.5"):
        drop_encoders(20, 1.5, generator=torch.Generator())


def test_what_does_not_fit_is_counted():
    text = small_text()
    tokens = text.tokenize(["two", "a red circle " * 9])
    assert tokens.cut["clip_l"][0] == 0
    whole = len(text.words["clip_l"]._encode(["a red circle " * 9])[0])
    assert tokens.cut["clip_l"][1] == whole - 8  # 10 less start and end
    lines = tokens.cut_in_words()
    assert any(line.startswith("prompt 1: clip_l reads 10 tokens") for line in lines)
    assert not any(line.startswith("prompt 0: clip") for line in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"towers": ("clip_l", "clip_b")}, "towers: expected one of .* got 'clip_b'; did you mean 'clip_.'"),
        ({"towers": ("t5", "t5")}, "towers: expected each name once"),
        ({"t5": None}, "towers: expected sizes for t5, got null"),
        ({"width": 19}, "width: expected 20 or more, as the towers give, got 19"),
        (
            {"clip_l": None, "clip_g": None, "towers": ("t5",)},
            "clip_l, clip_g: expected a place for one",
        ),
    ],
)
def test_places_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_config(**{"towers": TOWERS, **changes})


def test_side_by_side_towers_read_as_many_tokens():
    with pytest.raises(ValueError, match="clip_g.tokens: expected clip_l's"):
        small_config(clip_g=replace(small_config().clip_g, tokens=9))


def test_wrong_requests_are_named():
    text = small_text()
    with pytest.raises(ValueError, match="without: .* got 'clip'; did you mean 'clip_[lg]'"):
        text.encode(["a star"], without=["clip"])
    with pytest.raises(ValueError, match=r"dropped: expected \[B 3\] with B=1, got 2"):
        text(text.tokenize(["a star"]), torch.zeros(2, 3, dtype=torch.bool))
    text.words.pop("t5")
    with pytest.raises(ValueError, match="words: expected the tokenizer of t5, found none"):
        text.tokenize(["a star"])


def test_a_tokenizer_of_another_vocabulary_is_refused():
    text = small_text(("clip_l",), clip_l=replace(small_config().clip_l, vocab_size=540))
    with pytest.raises(ValueError, match="clip_l.vocab_size: expected its tokenizer's 530, got 540"):
        text.tokenize(["a star"])


def test_an_encoder_left_out_needs_no_tokenizer_and_cuts_nothing():
    text = small_text()
    del text.words["t5"]
    with pytest.raises(ValueError, match="words: expected the tokenizer of t5"):
        text.tokenize(PROMPTS)
    tokens = text.tokenize(["two blue stars " * 20], without="t5")
    assert [line.split()[2] for line in tokens.cut_in_words()] == ["clip_l", "clip_g"]


def test_tokens_less_a_tower_count_nothing_of_it():
    left = small_text().tokenize(["two blue stars " * 20]).without(["clip_l", "clip_g"])
    assert [line.split()[2] for line in left.cut_in_words()] == ["t5"]
