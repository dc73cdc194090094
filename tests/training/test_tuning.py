"""The stages that tune a trained model: who learns, what they write, and what each of them improves."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from tests.model.small import small_model
from tests.training.toy import toy_recipe
from unimm.data.world import Pictures
from unimm.model import UniMM
from unimm.model.adapters import AdapterSettings, adapter_parameters
from unimm.training import checkpoint
from unimm.training.finetune import FinetuneRecipe, FinetuneStage
from unimm.training.learner import TRAINS, Learner, Reference
from unimm.training.log import read_metrics
from unimm.training.loop import train
from unimm.training.optim import freeze_and_collect
from unimm.training.pairs import MakePairs
from unimm.training.preference import PreferenceRecipe, PreferenceStage
from unimm.training.prompting import PromptData
from unimm.training.recipe import DeepSpeedRecipe, OptimRecipe
from unimm.training.reward import RewardRecipe, RewardStage
from unimm.training.world_rows import TalkData

ADAPTER = AdapterSettings(("llm", "connector", "dit"), rank=4, alpha=8.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning") / "base"
    small_model().save_pretrained(folder)
    return folder


def run_of(folder, num_steps=2, lr=1e-2, **changes):
    changes = {"batch_size": 4, "log_every": 1, "ema_decay": None, "prefetch": 0, "threads": 1, **changes}
    return toy_recipe(folder, num_steps, optim=OptimRecipe(lr=lr), **changes)


def adapted(base) -> Learner:
    return Learner(str(base), adapter=ADAPTER)


def finetuning(base, folder, learner=None, **changes) -> FinetuneRecipe:
    pictures = Pictures(str(folder.parent / "pictures"), count=12, pixels=24, seed=1, scenes="pair")
    data = TalkData(pictures, str(folder.parent / "latents"), pattern=("attribute",), row_length=150)
    return FinetuneRecipe(run_of(folder, **changes), learner or adapted(base), data, noise_draws=2)


def finish(stage, recipe):
    result = train(recipe.train, stage, recipe)
    folder = checkpoint.Path(recipe.train.output) / stage.product
    stage.export(result.checkpoint, folder)
    return folder


# Who learns.


@pytest.mark.parametrize("row", TRAINS)
def test_the_rooms_of_a_row_learn_and_no_others(base, row):
    learner = Learner(str(base), trains=row)
    model = learner.open()
    members = freeze_and_collect({"model": model}, learner.groups(model))
    assert {member.name.split(".")[1] for member in members} == set(TRAINS[row])


def test_an_adapter_alone_learns(base):
    model = adapted(base).open()
    members = freeze_and_collect({"model": model}, adapted(base).groups(model))
    assert {member.name for member in members} == {f"model.{name}" for name in adapter_parameters(model)}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "either trains .* or adapter, got trains=None and adapter=None"),
        ({"trains": "dit", "adapter": ADAPTER}, "got trains='dit' and adapter=AdapterSettings"),
        ({"trains": "dif"}, "did you mean 'dit'"),
        ({"trains": "dit", "llm_bits": 4}, "llm_bits 4 needs an adapter, .* got trains='dit'"),
        ({"adapter": ADAPTER, "matrices": "muon"}, "expected adamw with an adapter, got muon"),
    ],
)
def test_a_learner_that_contradicts_itself_is_refused(values, said):
    with pytest.raises(ValueError, match=said):
        Learner("tiny", **values)


def test_few_bits_without_their_package_are_refused(base):
    with pytest.raises(ValueError, match="llm_bits: 4 needs bitsandbytes"):
        Learner(str(base), adapter=ADAPTER, llm_bits=4).open()


@pytest.mark.parametrize("learner", [{"trains": "drawing"}, {"adapter": ADAPTER}])
def test_the_reference_stays_the_model_as_it_was(base, learner):
    learner = Learner(str(base), **learner)
    model = learner.open()
    reference = Reference(model)
    members = freeze_and_collect({"model": model}, learner.groups(model))
    with torch.no_grad():
        for member in members:
            member.parameter.add_(0.1)
    states = torch.randn(1, 9, 16)
    model.train()
    with reference.used() as before:
        assert not before.training
        assert torch.equal(before.connector(states), small_model().connector(states))
    assert model.training
    assert not torch.allclose(model.connector(states), small_model().connector(states))


# finetune


def test_an_adapter_is_tuned_and_written_alone(base, tmp_path):
    recipe = finetuning(base, tmp_path / "run", ema_decay=0.9)
    stage = FinetuneStage(recipe)
    folder = finish(stage, recipe)
    assert folder.name == "adapter"
    saved = checkpoint.averaged_state(checkpoint.latest(tmp_path / "run"))
    model = UniMM.from_pretrained(base, adapter=folder)
    for name, x in adapter_parameters(model).items():
        assert torch.equal(x, saved[f"model.{name}"]), name
    moved = [name for name, x in adapter_parameters(model).items() if "lora_B" in name and x.abs().sum() > 0]
    assert {name.split(".")[0] for name in moved} == {"llm", "connector", "dit"}
    plain = small_model().state_dict()
    assert all(torch.equal(saved[f"model.{n}"], plain[n]) for n in ("queries.weight", "dit.embed.weight"))


def test_rooms_are_tuned_and_written_as_a_model(base, tmp_path):
    recipe = finetuning(base, tmp_path / "run", Learner(str(base), trains="dit", matrices="muon"))
    model = UniMM.from_pretrained(finish(FinetuneStage(recipe), recipe))
    before = small_model().state_dict()
    changed = {k.split(".")[0] for k, x in model.state_dict().items() if not torch.equal(x, before[k])}
    assert changed == {"dit"}


def test_a_tuning_that_was_stopped_ends_with_the_same_adapter(base, tmp_path):
    whole, parts = (finetuning(base, tmp_path / name, num_steps=4) for name in ("whole", "parts"))
    first = replace(parts, train=replace(parts.train, num_steps=2))
    for recipe in (whole, first, parts):
        torch.manual_seed(0)  # of the adapter's first weights, as `stages.main` does
        train(recipe.train, FinetuneStage(recipe), recipe)
    ends = [checkpoint.averaged_state(checkpoint.latest(tmp_path / name)) for name in ("whole", "parts")]
    assert all(torch.equal(ends[1][name], x) for name, x in ends[0].items())


# preference


def brightness(drawn, prompts, metadata):
    """The mean of the latents: any model can be taught to raise it."""
    return drawn.flatten(1).mean(1)


@pytest.fixture(scope="module")
def pairs(base, tmp_path_factory):
    """Eight pairs of pictures, the better one bright."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pairs")
    generator = torch.Generator().manual_seed(0)
    lines = []
    for index in range(8):
        for side, level in (("chosen", 170), ("rejected", 60)):
            noise = torch.randint(60, (12, 12, 3), generator=generator).numpy()
            Image.fromarray((noise + level).astype("uint8")).save(folder / f"{index}-{side}.png")
        files = {side: f"{index}-{side}.png" for side in ("chosen", "rejected")}
        lines.append(json.dumps({"prompt": f"thing {index}", **files}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder / "pairs.jsonl"


def preferring(base, pairs, folder, learner=None, **changes) -> PreferenceRecipe:
    return PreferenceRecipe(
        run_of(folder, **changes), learner or adapted(base), str(pairs), beta=50.0, noise_draws=2
    )


@pytest.mark.parametrize("learner", [{"trains": "drawing"}, {"adapter": ADAPTER}])
def test_preference_begins_at_the_reference_and_learns_the_pairs(base, pairs, tmp_path, learner):
    recipe = preferring(base, pairs, tmp_path / "run", Learner(str(base), **learner), num_steps=30, lr=1e-2)
    stage = PreferenceStage(recipe)
    finish(stage, recipe)
    first, *_, last = read_metrics(tmp_path / "run")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["winner_error"] == pytest.approx(first["winner_reference"], abs=1e-5)
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < 0.6 * math.log(2)
    assert last["accuracy"] > 0.9
    assert last["margin"] < 0


def test_winner_and_loser_share_noise_and_time(base, pairs, tmp_path):
    stage = PreferenceStage(preferring(base, pairs, tmp_path / "run"))
    batch = stage.batch(0, 4)
    swapped = batch._replace(winner=batch.loser, loser=batch.winner)
    one, two = (stage.step(b, torch.Generator().manual_seed(3)) for b in (batch, swapped))
    assert torch.equal(one["winner_error"], two["loser_error"])
    assert torch.equal(one["loser_reference"], two["winner_reference"])


def test_an_anchor_adds_the_winners_own_loss(base, pairs, tmp_path):
    recipe = preferring(base, pairs, tmp_path / "run")
    steps = [PreferenceStage(r) for r in (recipe, replace(recipe, anchor=0.5))]
    plain, anchored = (s.step(s.batch(0, 4), torch.Generator().manual_seed(3)) for s in steps)
    assert anchored["loss"].item() == pytest.approx(
        (plain["loss"] + 0.5 * plain["winner_error"]).item(), abs=1e-5
    )


def test_pictures_that_look_the_same_are_refused(base, pairs, tmp_path):
    stage = PreferenceStage(preferring(base, pairs, tmp_path / "run"))
    batch = stage.batch(0, 2)
    with pytest.raises(ValueError, match="latents are the same"):
        stage.step(batch._replace(loser=batch.winner), torch.Generator())


def test_many_ranks_do_not_make_pairs(base, pairs, tmp_path, monkeypatch):
    recipe = replace(
        preferring(base, pairs, tmp_path / "run"), pairs=str(tmp_path / "made"), make=MakePairs(4)
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="before 2 ranks train"):
        PreferenceStage(recipe)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"beta": 0.0}, "beta: expected a positive number, got 0.0"),
        ({"noise_draws": 0}, "noise_draws: expected 1 or more, got 0"),
        ({"anchor": -1.0}, "anchor: expected 0 or more, got -1.0"),
        ({"anchor": math.nan}, "anchor: expected 0 or more, got nan"),
        ({"pairs": "folder"}, "a .jsonl file without make, or a folder with it, got 'folder' and make=None"),
        ({"make": MakePairs(4)}, "got '.*pairs.jsonl' and make=MakePairs"),
    ],
)
def test_a_preference_recipe_that_contradicts_itself_is_refused(base, pairs, tmp_path, values, said):
    with pytest.raises(ValueError, match=said):
        replace(preferring(base, pairs, tmp_path), **values)


# reward


def rewarding(base, folder, learner=None, **changes) -> RewardRecipe:
    prompts = PromptData(families=("colors",), seed=3)
    own = {key: changes.pop(key) for key in ("kl", "reward") if key in changes}
    return RewardRecipe(
        run_of(folder, **changes), learner or adapted(base), prompts, group=6, noise_draws=2, steps=3, **own
    )


def test_the_reward_rises_where_the_judge_can_be_pleased(base, tmp_path):
    recipe = rewarding(base, tmp_path / "run", num_steps=25, lr=1e-2, kl=0.0)
    finish(RewardStage(recipe, brightness), recipe)
    rewards = [record["reward"] for record in read_metrics(tmp_path / "run")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1


def test_a_pull_to_the_reference_holds_back(base, tmp_path):
    ends = {}
    for kl in (0.0, 100.0):
        recipe = rewarding(base, tmp_path / str(kl), num_steps=10, kl=kl)
        train(recipe.train, RewardStage(recipe, brightness), recipe)
        ends[kl] = read_metrics(tmp_path / str(kl))[-1]["divergence"]
    assert ends[100.0] < 0.5 * ends[0.0]


def test_a_step_draws_the_same_after_whatever_came_before(base, tmp_path):
    stage = RewardStage(rewarding(base, tmp_path / "run"), brightness)
    once = stage.step(stage.batch(4, 2), torch.Generator().manual_seed(1))
    stage.step(stage.batch(0, 2), torch.Generator().manual_seed(2))
    again = stage.step(stage.batch(4, 2), torch.Generator().manual_seed(1))
    assert all(torch.equal(x, again[name]) for name, x in once.items())


def test_the_models_own_verifier_is_a_reward_and_judges_as_it_was(base, tmp_path):
    stage = RewardStage(rewarding(base, tmp_path / "run", reward="p_yes"))
    batch = stage.batch(0, 2)
    latents = torch.randn(12, 9, 8)
    with torch.no_grad():
        for parameter in adapter_parameters(stage.model).values():
            parameter.add_(0.1)
    prompts = [asked.text for asked in batch.asked for _ in range(6)]
    expected = small_model().verify(latents, prompts, "p_yes")
    assert stage._scores(batch, latents).tolist() == pytest.approx(expected, abs=1e-6)


def test_scores_that_are_no_numbers_stop_the_run(base, tmp_path):
    stage = RewardStage(
        rewarding(base, tmp_path / "run"), lambda drawn, prompts, facts: [math.nan] * len(prompts)
    )
    with pytest.raises(ValueError, match="expected finite scores, got nan"):
        stage.step(stage.batch(0, 2), torch.Generator())


def test_ranks_that_judge_are_not_given_weights_in_pieces(base, tmp_path):
    """They judge in unequal numbers of passes, and would wait for each other."""
    recipe = rewarding(base, tmp_path)
    replace(recipe, train=replace(recipe.train, deepspeed=DeepSpeedRecipe(zero_stage=2)))
    with pytest.raises(ValueError, match="zero_stage: expected 0, 1 or 2, got 3"):
        replace(recipe, train=replace(recipe.train, deepspeed=DeepSpeedRecipe(zero_stage=3)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"group": 1}, "group: expected 2 drawings or more to compare, got 1"),
        ({"steps": 0}, "steps: expected 1 or more, got 0"),
        ({"kl": -0.5}, "kl: expected 0 or more, got -0.5"),
        ({"kl": math.nan}, "kl: expected 0 or more, got nan"),
        ({"reward": "readr"}, "did you mean 'reader'"),
    ],
)
def test_a_reward_recipe_out_of_range_is_refused(base, tmp_path, values, said):
    with pytest.raises(ValueError, match=said):
        replace(rewarding(base, tmp_path), **values)
