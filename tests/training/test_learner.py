"""What the tuning stages share: blocks computed again, a rate of the DiT's own, the model they began from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.model.small import small_model
from tests.training.test_tuning import ADAPTER, brightness, finetuning, pairs, preferring, rewarding, run_of
from unimm.model.adapters import AdapterSettings, adapter_parameters
from unimm.training import checkpoint, preference
from unimm.training.finetune import FinetuneStage
from unimm.training.identity import identity
from unimm.training.joint import DrawingSide
from unimm.training.learner import Learner
from unimm.training.loop import train
from unimm.training.optim import Optimizers, freeze_and_collect
from unimm.training.pairs import MakePairs
from unimm.training.plain import PlainEngine
from unimm.training.preference import PreferenceStage
from unimm.training.recipe import OptimRecipe
from unimm.training.reward import RewardStage

__all__ = ["pairs"]  # a fixture

ROOMS = {"trains": "both"}
DROPPING = {"adapter": replace(ADAPTER, dropout=0.2)}
SIDE = DrawingSide(10.0, (0.8, 0.9))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learner") / "base"
    small_model().save_pretrained(folder)
    return folder


def finetune(base, folder, pairs, learner, **changes):
    recipe = finetuning(base, folder, learner, **changes)
    return recipe, FinetuneStage(recipe)


def prefer(base, folder, pairs, learner, **changes):
    recipe = preferring(base, pairs, folder, learner, **changes)
    return recipe, PreferenceStage(recipe)


def reward(base, folder, pairs, learner, **changes):
    recipe = rewarding(base, folder, learner, **changes)
    return recipe, RewardStage(recipe, brightness)


STAGES = [finetune, prefer, reward]


# Blocks computed again.


class Calls:
    """A hook that counts."""

    count = 0

    def __call__(self, *_):
        self.count += 1


def gradients(make, base, folder, pairs, learner, precision):
    """Return the gradients of a step by name, and how often two blocks ran on the way back."""
    torch.manual_seed(0)  # of an adapter's first weights
    recipe, stage = make(base, folder, pairs, learner, precision=precision)
    with torch.no_grad():  # B of an adapter begins at 0, and A would get no gradients
        for parameter in adapter_parameters(stage.model).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    engine = PlainEngine(recipe.train, stage)
    torch.manual_seed(1)  # of dropout
    loss = engine.losses(stage.batch(0, 2), torch.Generator().manual_seed(2))["loss"]
    counter, model = Calls(), stage.model
    for block in (model.llm.model.layers[0].mlp, model.dit.blocks[0].mlp):
        block.register_forward_pre_hook(counter)
    engine.backward(loss)
    return {member.name: member.parameter.grad for member in engine.members}, counter.count


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("learner", [ROOMS, DROPPING], ids=["rooms", "adapter"])
@pytest.mark.parametrize("make", STAGES)
def test_blocks_computed_again_give_the_same_gradients(base, pairs, tmp_path, make, learner, precision):
    learner = Learner(str(base), **learner)
    plain, none = gradients(make, base, tmp_path / "run", pairs, learner, precision)
    again = replace(learner, gradient_checkpointing=True)
    found, count = gradients(make, base, tmp_path / "run", pairs, again, precision)
    assert none == 0
    assert count >= 2
    missing = {name for name, x in plain.items() if x is None or not x.any()}
    assert not {name for name in missing if "lora" in name or "blocks" in name}
    torch.testing.assert_close(found, plain)


# The DiT's own rate.


@pytest.mark.parametrize("learner", [ROOMS, {"adapter": ADAPTER}], ids=["rooms", "adapter"])
@pytest.mark.parametrize("make", STAGES)
def test_the_dit_may_have_a_rate_and_betas_of_its_own(base, pairs, tmp_path, make, learner):
    learner = Learner(str(base), **learner, drawing=SIDE)
    recipe, stage = make(base, tmp_path / "run", pairs, learner, lr=1e-3)
    engine = PlainEngine(recipe.train, stage)
    groups = engine.optimizers.all["adamw"].param_groups
    of = {id(p): (group["lr"], group["betas"]) for group in groups for p in group["params"]}
    sides = [member.name.startswith("model.dit.") for member in engine.members]
    assert any(sides)
    assert not all(sides)
    for member, is_dit in zip(engine.members, sides, strict=True):
        assert of[id(member.parameter)] == ((1e-2, (0.8, 0.9)) if is_dit else (1e-3, (0.9, 0.95)))


def test_muon_takes_the_dits_rate_too(base):
    learner = Learner(str(base), trains="dit", matrices="muon", drawing=DrawingSide(3.0))
    model = learner.open()
    members = freeze_and_collect({"model": model}, learner.groups(model))
    found = Optimizers(members, OptimRecipe(lr=1e-3)).all
    assert {group["lr"] for kind in ("muon", "adamw") for group in found[kind].param_groups} == {3e-3}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trains": "talking"}, r"drawing: expected none with trains 'talking', .* got DrawingSide\(lr_s"),
        (
            {"adapter": AdapterSettings(("llm", "projector"))},
            r"expected none with adapter.rooms \[llm, projector\], .* got DrawingSide\(lr_scale=10.0",
        ),
        (
            {"trains": "both", "drawing": DrawingSide(0.0)},
            "lr_scale: expected a number above 0 with trains 'both', by which the DiT learns, got 0.0",
        ),
        ({"adapter": ADAPTER, "drawing": DrawingSide(float("nan"))}, "above 0 with adapter.rooms .* got nan"),
    ],
)
def test_a_rate_of_the_dit_that_contradicts_who_learns_is_refused(values, said):
    with pytest.raises(ValueError, match=said):
        Learner("tiny", **{"drawing": SIDE, **values})


def test_a_rate_of_the_dit_is_refused_where_no_layer_of_it_is_named(base):
    only = AdapterSettings(("llm", "dit"), rank=4, layers=("q_proj",))
    learner = Learner(str(base), adapter=only, drawing=SIDE)
    with pytest.raises(ValueError, match=r"expected none with adapter.layers \[q_proj\], .* got DrawingSide"):
        learner.groups(learner.open())
    assert Learner(str(base), adapter=only).groups(learner.open())


def test_rates_and_what_is_computed_again_may_change_between_two_parts_of_a_run():
    def of(**changes):
        return identity({"train": {}, "learner": {"start": "tiny", "trains": "both", **changes}})

    freed = of(gradient_checkpointing=True, drawing={"lr_scale": 3.0, "betas": None})
    assert freed == of() == of(gradient_checkpointing=False)
    assert of(trains="dit") != of()


# The model as it was.


def test_the_reference_shares_what_does_not_learn(base, pairs, tmp_path):
    _, stage = prefer(base, tmp_path / "run", pairs, Learner(str(base), trains="dit"))
    ours, theirs = (dict(module.named_parameters()) for module in stage.modules.values())
    shared = {name for name, x in theirs.items() if x is ours[name]}
    assert {name.split(".")[0] for name in ours.keys() - shared} == {"dit"}
    assert not {name for name in shared if name.startswith("dit.")}


@pytest.mark.parametrize("make", [prefer, reward])
def test_a_run_goes_on_with_its_reference_which_no_checkpoint_holds(base, pairs, tmp_path, make):
    learner, ends = Learner(str(base), trains="drawing"), []
    for name, parts in (("whole", (4,)), ("parts", (2, 4))):
        for num_steps in parts:
            recipe, stage = make(base, tmp_path / name, pairs, learner, num_steps=num_steps)
            train(recipe.train, stage, recipe)
        ends.append(checkpoint.averaged_state(checkpoint.latest(tmp_path / name)))
    assert {name.split(".")[0] for name in ends[0]} == {"model"}
    assert all(torch.equal(ends[1][name], x) for name, x in ends[0].items())


def test_a_run_does_not_go_on_from_another_start(pairs, tmp_path):
    base, learner = tmp_path / "base", Learner(str(tmp_path / "base"), trains="dit")

    def go_on(num_steps, **changes):
        recipe, stage = prefer(base, tmp_path / "run", pairs, learner, num_steps=num_steps, **changes)
        return train(recipe.train, stage, recipe).step

    small_model().save_pretrained(base)
    go_on(1)
    small_model(seed=1).save_pretrained(base)
    with pytest.raises(ValueError, match="learner.start: .*began from weights [0-9a-f]+, got [0-9a-f]+; set"):
        go_on(2)
    assert not list((tmp_path / "run").glob("config-until-*"))  # what is refused leaves the folder as it was
    assert go_on(2, resume="changed") == 2
    assert go_on(3) == 3


def test_pairs_are_drawn_where_the_run_trains(base, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(preference, "local_device", lambda train: torch.device("meta"))
    monkeypatch.setattr(preference, "made_pairs", lambda model, *_: seen.append(model.device.type) or [])
    recipe = preference.PreferenceRecipe(
        run_of(tmp_path / "run"), Learner(str(base), trains="dit"), str(tmp_path / "pairs"), MakePairs(2)
    )
    PreferenceStage(recipe)
    assert seen == ["meta"]
