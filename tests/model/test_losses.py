"""What is trained: the two losses are what the formulas say, and every room takes part every time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.model.small import small_model, small_tokenizer
from unimm.flow.density import logit_normal
from unimm.flow.shifting import shift
from unimm.parts import Image, Text, Turn
from unimm.text.chat import collate, render
from unimm.text.tokenizer import special_ids

SEE = [Turn("user", (Image(), Text("What?"))), Turn("assistant", (Text("a star"),))]
DRAW = [Turn("user", (Text("Draw a star, please."),)), Turn("assistant", (Image(target=True),))]
TALK = [Turn("user", (Text("Hi"),)), Turn("assistant", (Text("Hello"),))]
ALONE = [Turn("user", (Text("Hi"),))]


def batch(*conversations, seed: int = 0):
    rows = [render(turns, small_tokenizer(), 9) for turns in conversations]
    runs = [slots.target for row in rows for slots in row.runs]
    generator = torch.Generator().manual_seed(seed)
    seen, drawn = (
        torch.randn(n, 9, 8, generator=generator) if n else None for n in (runs.count(False), sum(runs))
    )
    return collate(rows, special_ids(small_tokenizer()).pad, seen, drawn)


def losses(model, data, draws: int = 1, seed: int = 5):
    return model.training_losses(data, noise_draws=draws, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_is_transformers_own():
    model, data = small_model(), batch(SEE, DRAW, TALK)
    expected = model.llm(
        inputs_embeds=model.embed(data), attention_mask=data.attention_mask.long(), labels=data.labels
    ).loss
    torch.testing.assert_close(losses(model, data).ce, expected, rtol=1e-5, atol=1e-5)


def test_flow_loss_is_the_formula():
    model, data = small_model(null_probability=0.5), batch(SEE, DRAW, DRAW)
    draws, settings = 3, model.config.settings
    found = losses(model, data, draws=draws).flow
    generator = torch.Generator().manual_seed(5)
    x = data.target_latents.repeat_interleave(draws, 0)
    e = torch.randn(x.shape, generator=generator)
    t = shift(logit_normal(6, generator=generator), settings.alpha)
    dropped = torch.rand(6, generator=generator) < 0.5
    assert dropped.any()
    assert not dropped.all()
    states = model(data)
    at = [states[run.row, run.start : run.start + 9] for run in data.query_runs]
    z = model.connector(torch.stack(at)).repeat_interleave(draws, 0)
    z = torch.where(dropped[:, None, None], model.dit.null_condition, z)
    x_t = (1 - t[:, None, None]) * x + t[:, None, None] * e
    expected = F.mse_loss(model.dit(x_t, t, z), e - x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_noise_draws_share_one_pass_of_the_llm():
    model, calls = small_model(), []
    model.llm.model.register_forward_hook(lambda *_: calls.append(1))
    seen = []
    model.dit.register_forward_hook(lambda room, inputs, out: seen.append(len(inputs[0])))
    losses(model, batch(DRAW, DRAW), draws=4)
    assert calls == [1]
    assert seen == [8]


@pytest.mark.parametrize(
    "conversations",
    [[SEE], [DRAW], [TALK], [ALONE], [SEE, DRAW, TALK]],
    ids=["see", "draw", "talk", "none", "all"],
)
def test_every_trained_room_takes_part_whatever_the_batch(conversations):
    model = small_model()
    found = losses(model, batch(*conversations))
    (found.ce + 2 * found.flow).backward()
    for room in ("llm", "queries", "projector", "connector", "dit"):
        without = [name for name, p in getattr(model, room).named_parameters() if p.grad is None]
        assert not without, f"{room}: {without}"
    for room in ("encoder", "decoder"):
        assert all(p.grad is None for p in getattr(model, room).parameters())


def test_a_room_without_work_adds_nothing():
    model = small_model()
    found = losses(model, batch(TALK))
    assert float(found.flow.detach()) == 0
    assert float(losses(model, batch(ALONE)).ce.detach()) == 0
    (found.ce + found.flow).backward()
    assert not any(p.grad.any() for room in (model.projector, model.dit) for p in room.parameters())


def test_what_comes_later_or_elsewhere_does_not_matter():
    model = small_model()
    alone = model.query_states(batch(DRAW))
    longer = [*SEE, *SEE]
    together = model.query_states(batch(longer, DRAW, TALK))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_pictures_and_queries_are_looked_at():
    model = small_model()
    first, second = batch(SEE, DRAW), batch(SEE, DRAW, seed=1)
    assert not torch.allclose(model(first)[0], model(second)[0])
    states = model.query_states(first)
    model.queries.weight.data.mul_(2)
    assert not torch.allclose(model.query_states(first), states)


def test_the_losses_are_a_function_of_the_generator():
    model, data = small_model(), batch(DRAW)
    assert losses(model, data).flow == losses(model, data).flow
    assert losses(model, data).flow != losses(model, data, seed=6).flow


def test_missing_latents_are_named():
    data = batch(SEE)
    data.context_latents = None
    with pytest.raises(ValueError, match="context_latents: expected 1 images, got none"):
        losses(small_model(), data)
    data = batch(DRAW)
    data.target_latents = None
    with pytest.raises(ValueError, match="target_latents: expected 1 images"):
        losses(small_model(), data)


def test_a_few_steps_learn_a_batch():
    model, data = small_model(), batch(SEE, DRAW)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    history = []
    for step in range(25):
        with torch.autocast("cpu", torch.bfloat16):
            found = losses(model, data, draws=2, seed=step)
        history.append((float(found.ce.detach()), float(found.flow.detach())))
        (found.ce + 2 * found.flow).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert history[-1][0] < 0.7 * history[0][0]
    assert sum(flow for _, flow in history[-5:]) < sum(flow for _, flow in history[:5])


# torch's own tracer looks at .grad of tensors that have none.
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_the_dit_compiles_in_its_place():
    model, data = small_model(), batch(DRAW, DRAW)
    expected = losses(model, data).flow
    model.dit.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(losses(model, data).flow, expected, rtol=1e-4, atol=1e-5)


def test_blocks_computed_again_give_the_same_gradients():
    found = []
    for again in (False, True):
        model = small_model().train()
        if again:
            model.compute_again()
        losses = model.training_losses(batch(DRAW, SEE), generator=torch.Generator().manual_seed(0))
        counter = Calls()
        hooks = [
            block.register_forward_pre_hook(counter)
            for block in (model.llm.model.layers[0].mlp, model.dit.blocks[0].mlp)
        ]
        (losses.ce + losses.flow).backward()
        for hook in hooks:
            hook.remove()
        assert counter.count == 2 * again
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(found[1], found[0])


class Calls:
    """A hook that counts."""

    count = 0

    def __call__(self, *_):
        self.count += 1
