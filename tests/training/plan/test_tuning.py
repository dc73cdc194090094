"""Plans of tuning: operations against what torch counts in a real step, memory of frozen weights by hand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from tests.model.small import small_tokenizer
from tests.training.toy import toy_recipe
from unimm.model.adapters import AdapterSettings
from unimm.model.unimm import UniMM
from unimm.training.bench.joint import batch_for, model_for, settings_of
from unimm.training.learner import Learner
from unimm.training.meter import Peak
from unimm.training.plan import Device, estimate
from unimm.training.plan.bits import FewBitsLinear
from unimm.training.plan.estimate import operations, shaped
from unimm.training.plan.tuning import drawing_tokens, finetuning, preferring, rewarding
from unimm.training.plan.workload import Rows
from unimm.training.preference import PairBatch, PreferenceRecipe, PreferenceStage
from unimm.training.prompting import PromptData, drawing_rows
from unimm.training.recipe import OptimRecipe
from unimm.training.reward import RewardRecipe, RewardStage

SETTINGS = settings_of(width=64, depth=2, vocab_size=512, grid=4)
ADAPTED = {"adapter": AdapterSettings(("llm", "connector", "dit"), rank=8)}
PROMPTS = ["two red circles left of a blue star", "a star", "a blue star", "two red stars"]
LARGE = Device(2**40, Peak(1.0, 1.0))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned") / "base"
    model = model_for(SETTINGS)
    model.tokenizer = small_tokenizer()
    model.save_pretrained(folder)
    return str(folder)


def counted(step) -> int:
    """Return torch's count of a step that returns a loss, with a CPU's fused attention, which it lacks."""

    def forward(q, k, v, *_, **__):
        return sdpa_flop_count(q, k, v)

    def backward(gradient, q, k, v, *_, **__):
        return 2 * sdpa_flop_count(q, k, v)

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    attention_back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    with FlopCounterMode(
        display=False, custom_mapping={attention: forward, attention_back: backward}
    ) as counter:
        step().backward()
    return counter.get_total_flops()


def train_recipe(folder, **changes):
    return toy_recipe(folder, 1, optim=OptimRecipe(lr=1.0), **{"batch_size": 4, "ema_decay": None, **changes})


class Pairs(PreferenceStage):
    """The stage on pictures that are no files."""

    def _pairs(self):
        return []

    def batch(self, start, count):
        size = self.model.config.settings.target_size
        return PairBatch(drawing_rows(self.model, PROMPTS[:count]), *torch.rand(2, count, 3, size, size))


def preferring_recipe(base, folder, learner, **changes):
    return PreferenceRecipe(
        train_recipe(folder, **changes), Learner(base, **learner), "pairs.jsonl", noise_draws=2
    )


@pytest.mark.parametrize("learner", [ADAPTED, {"trains": "dit"}, {"trains": "both"}])
def test_preference_is_as_many_operations_as_torch_counts(base, tmp_path, learner):
    stage = Pairs(preferring_recipe(base, tmp_path, learner))
    batch, before = stage.batch(0, 4), torch.get_rng_state()
    found = stage.flops(batch)
    assert torch.equal(torch.get_rng_state(), before)
    real = counted(lambda: stage.step(batch, torch.Generator().manual_seed(0))["loss"])
    assert found == pytest.approx(real, rel=0.1)
    assert stage.flops(stage.batch(0, 2)) == found / 2
    assert stage.amounts(batch) == {"tokens": int(batch.rows.attention_mask.sum()), "images": 8}


@pytest.mark.parametrize(
    ("reward", "learner"),
    [("p_yes", ADAPTED), ("prompt_likelihood", {"trains": "drawing"}), ("reader", ADAPTED)],
)
def test_reward_is_as_many_operations_as_torch_counts(base, tmp_path, reward, learner):
    prompts = PromptData(families=("colors",))
    recipe = RewardRecipe(
        train_recipe(tmp_path), Learner(base, **learner), prompts, reward, group=4, noise_draws=2, steps=3
    )
    stage = RewardStage(recipe)
    batch = stage.batch(0, 2)
    found = stage.flops(batch)
    real = counted(lambda: stage.step(batch, torch.Generator().manual_seed(0))["loss"])
    assert found == pytest.approx(real, rel=0.1)
    assert stage.amounts(batch) == {"tokens": int(batch.rows.attention_mask.sum()), "images": 8}


def test_finetuning_an_adapter_is_as_many_operations_as_torch_counts(base):
    learner = Learner(base, **ADAPTED)
    model, batch = UniMM.from_pretrained(base), batch_for(SETTINGS, rows=4)
    learner.prepare(model, again=False)
    batch.labels = batch.input_ids.clone()

    def step():
        losses = model.train().training_losses(
            batch, noise_draws=2, generator=torch.Generator().manual_seed(0)
        )
        return losses.ce + losses.flow

    rows = Rows(batch.input_ids.shape[1], drawn=0.5, noise_draws=2)
    assert operations(finetuning(learner, rows), 4) == pytest.approx(counted(step), rel=0.1)


def test_a_reference_of_rooms_is_held_besides_and_shares_what_is_frozen(base, tmp_path):
    adapted, rooms = (
        estimated(preferring_recipe(base, tmp_path, one), preferring) for one in (ADAPTED, {"trains": "dit"})
    )
    dit = sum(p.numel() for p in model_for(SETTINGS).dit.parameters())
    assert rooms.trained == dit
    assert rooms.frozen + rooms.trained == adapted.frozen + dit
    assert rooms.device_bytes["optimiser"] == 8 * dit
    assert adapted.device_bytes["optimiser"] == 8 * adapted.trained


def estimated(recipe, workload_of):
    tokens = drawing_tokens(recipe.learner, SETTINGS)
    return estimate(workload_of(recipe, SETTINGS, tokens), recipe.train, 1, LARGE)


@pytest.mark.parametrize(
    ("bits", "constants"),
    [
        (4, lambda layer: (1 / 64 + 4 / (64 * 256)) * layer.num_weights),
        (8, lambda layer: 4 * layer.out_features),
    ],
)
def test_few_bits_are_kept_with_their_constants(base, bits, constants):
    rows, whole = Rows(64, 0.5, 1), Learner(base, **ADAPTED)
    train = train_recipe("x")
    plain, few = (
        estimate(finetuning(one, rows), train, 1, LARGE) for one in (whole, replace(whole, llm_bits=bits))
    )
    with shaped(finetuning(replace(whole, llm_bits=bits), rows), again=False) as modules:
        packed = [m for m in modules["model"].modules() if isinstance(m, FewBitsLinear)]
        weights = sum(layer.num_weights for layer in packed)
    assert len(packed) == 7 * SETTINGS.llm.depth
    spared = plain.device_bytes["weights"] - few.device_bytes["weights"]
    assert spared == pytest.approx(weights * (4 - bits / 8) - sum(map(constants, packed)), rel=0.001)
    assert (few.trained, few.frozen) == (plain.trained, plain.frozen)
    assert few.step_flops == plain.step_flops


def test_rows_without_a_tokenizer_are_about_as_long(base, tmp_path):
    config = tmp_path / "bare"
    config.mkdir()
    shutil.copy(Path(base) / "config.json", config)
    bare = drawing_tokens(Learner(str(config), trains="dit"), SETTINGS)
    assert SETTINGS.num_queries < bare < drawing_tokens(Learner(base, trains="dit"), SETTINGS) + 40


def test_more_steps_of_drawing_are_more_work(base, tmp_path):
    learner = Learner(base, **ADAPTED)
    few = RewardRecipe(train_recipe(tmp_path), learner, group=4, steps=2)
    work = [operations(rewarding(replace(few, steps=n), SETTINGS, 60), 2) for n in (2, 4, 6)]
    assert work[2] - work[1] == work[1] - work[0] > 0
