"""Workloads of recipes: which stage a recipe is of, and what that stage computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm import config
from unimm.model.loading import find_folder, read_config
from unimm.model.unimm import UniMM
from unimm.tables import expect_known
from unimm.training.class_conditional import ClassRecipe, class_workload
from unimm.training.decoder import DecoderRecipe, decoder_workload
from unimm.training.encoder import EncoderRecipe, encoder_workload
from unimm.training.finetune import FinetuneRecipe
from unimm.training.instruct import InstructRecipe, instruct_groups
from unimm.training.joint import JointRecipe, talk_groups
from unimm.training.plan.remedies import computes_again
from unimm.training.plan.tuning import drawing_tokens, finetuning, preferring, rewarding, settings_of
from unimm.training.plan.workload import Rows, Workload, talking
from unimm.training.preference import PreferenceRecipe
from unimm.training.recipe import Group
from unimm.training.reward import RewardRecipe
from unimm.training.text_to_image import TextRecipe, text_workload
from unimm.training.vae import VAERecipe, vae_workload

KINDS_THAT_DRAW = ("draw", "redraw", "attribute")
"""Kinds of rows of the world that end in a picture to draw."""


@dataclass(frozen=True)
class Planned:
    """A recipe, ready to be estimated."""

    stage: str
    recipe: Any
    workload: Workload
    again: bool
    """Whether blocks are computed again for gradients."""


def _joint(recipe: JointRecipe) -> Workload:
    def groups(model: UniMM) -> Mapping[str, Group]:
        return talk_groups(model, recipe.matrices, recipe.drawing)

    return talking(recipe.model, _rows(recipe), groups)


def _instruct(recipe: InstructRecipe) -> Workload:
    settings = read_config(find_folder(recipe.start)).settings
    return talking(settings, _rows(recipe), lambda model: instruct_groups(model, recipe))


def _finetune(recipe: FinetuneRecipe) -> Workload:
    return finetuning(recipe.learner, _rows(recipe))


def _preference(recipe: PreferenceRecipe) -> Workload:
    settings = settings_of(recipe.learner)
    return preferring(recipe, settings, drawing_tokens(recipe.learner, settings))


def _reward(recipe: RewardRecipe) -> Workload:
    settings = settings_of(recipe.learner)
    return rewarding(recipe, settings, drawing_tokens(recipe.learner, settings))


def _rows(recipe: JointRecipe | InstructRecipe | FinetuneRecipe) -> Rows:
    """Return the rows of a recipe; of data whose rows are not known beforehand the fullest ones."""
    data = recipe.data
    drawn = sum(kind in KINDS_THAT_DRAW for kind in data.pattern) / len(data.pattern)
    return Rows(data.row_length, 1.0 if data.sources else drawn, recipe.noise_draws)


STAGES: dict[str, tuple[type, Callable[[Any], Workload]]] = {
    "joint": (JointRecipe, _joint),
    "instruct": (InstructRecipe, _instruct),
    "finetune": (FinetuneRecipe, _finetune),
    "preference": (PreferenceRecipe, _preference),
    "reward": (RewardRecipe, _reward),
    "encoder": (EncoderRecipe, encoder_workload),
    "decoder": (DecoderRecipe, decoder_workload),
    "vae": (VAERecipe, vae_workload),
    "class_conditional": (ClassRecipe, class_workload),
    "text_to_image": (TextRecipe, text_workload),
}
"""The stages, with their recipes."""


def planned(path: str | Path, changes: Sequence[str] = (), stage: str | None = None) -> Planned:
    """Return a recipe file's plan; which stage it is of, its keys tell.

    Args:
        path: the YAML file.
        changes: `key=value`, as in training.
        stage: a name of STAGES; None finds out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no stage takes these keys, or several do.
    """
    name = _stage_of(path) if stage is None else stage
    expect_known("--stage", name, STAGES)
    recipe_class, workload_of = STAGES[name]
    recipe = config.load(recipe_class, path, list(changes))
    return Planned(name, recipe, workload_of(recipe), computes_again(recipe))


def _stage_of(path: str | Path) -> str:
    """Return the stage whose recipe has the file's keys, and whose needs they meet."""
    fitting = [name for name, (recipe_class, _) in STAGES.items() if config.fits(recipe_class, path)]
    if len(fitting) != 1:
        raise ValueError(
            f"{path}: expected the recipe of one of {', '.join(STAGES)}, its keys fit "
            f"{' and '.join(fitting) or 'none'}; name the stage by --stage"
        )
    return fitting[0]
