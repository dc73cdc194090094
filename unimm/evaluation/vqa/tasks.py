"""The benchmarks: what their data is called, how each protocol asks, how long answers may be, who scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from unimm.evaluation.vqa import hub, prompts, tables
from unimm.evaluation.vqa.prompts import (
    LETTER,
    ONLY_LETTER,
    WORD,
    Form,
    choice,
    followed_by,
    vlmevalkit_choice,
)
from unimm.evaluation.vqa.tables import Schema


@dataclass(frozen=True)
class Asking:
    """One protocol's way to ask; answers are always greedy."""

    form: Form
    max_new_tokens: int
    with_tokens: Form | None = None
    """The form with the words read in the picture, where a protocol has both."""
    tokens: bool = False
    """Whether `with_tokens` is the protocol's own choice."""
    scored_as: str | None = None
    """The scorer's protocol, where it has another name."""
    pictures: str = "all"
    """Of a question with several, "all" where the prompt names them, or the "first" alone."""


@dataclass(frozen=True)
class Images:
    """Pictures in a part of the data set of their own."""

    config: str
    id: str = "id"


@dataclass(frozen=True)
class Task:
    """One benchmark."""

    name: str
    """Of its scorer too."""
    dataset: str
    """On the hub, as lmms-eval or Cambrian name it."""
    split: str
    size: int | None
    """Questions in that split; None where it depends on the configuration."""
    hub: Schema
    table: Schema
    asking: Mapping[str, Asking]
    """By protocol; the first is the default."""
    configs: tuple[str, ...] = ()
    """Parts of the data set that are read, one after the other."""
    images: Images | None = None
    needs_picture: bool = True
    several: bool = False
    """Whether questions with several pictures are asked; else they are left out, and counted."""
    scale: float = 100.0
    """By which scores are multiplied where they are shown."""
    shares: tuple[str, ...] = ()
    """Scores that are shares and shown in per cent where others are points, by the end of their names."""
    quoted: str = "accuracy"
    """The score that people quote."""
    free: bool = False
    """Whether answers are free texts, in which there is nothing to guess."""
    notes: tuple[str, ...] = field(default=())


# lmms-eval leaves the length open for some, its model classes then take 1024; VLMEvalKit leaves it to models.
_OPEN, _VLM = 1024, 512


def _short(suffix: str, cambrian: int, lmms: int, cambrian_suffix: str = WORD) -> dict[str, Asking]:
    return {
        "official": Asking(followed_by(WORD), cambrian),
        "cambrian": Asking(followed_by(cambrian_suffix), cambrian),
        "lmms_eval": Asking(followed_by(suffix), lmms),
        "vlmevalkit": Asking(followed_by(WORD), _VLM),
    }


def _without(asking: Mapping[str, Asking], *names: str) -> dict[str, Asking]:
    return {name: way for name, way in asking.items() if name not in names}


_VLM_CHOICE = Asking(vlmevalkit_choice, _VLM)
_STARRED = "the options stand in the question of the hub's rows; VLMEvalKit's table lists them"

_ALL = (
    Task(
        "mme", "lmms-lab/MME", "test", 2374, hub.mme, tables.yes_no,
        {
            "official": Asking(prompts.plain, 32),
            "cambrian": Asking(followed_by(WORD), 32),
            "lmms_eval": Asking(prompts.without_yes_or_no(WORD), 16),
            "vlmevalkit": Asking(prompts.plain, _VLM),
        },
        scale=1.0,
        shares=("accuracy", "accuracy+"),
        quoted="perception",
        notes=("subtasks 0 to 200, perception to 2000, cognition to 800; two questions to a picture",),
    ),
    Task(
        "textvqa", "lmms-lab/textvqa", "validation", 5000, hub.textvqa, tables.short,
        {
            "official": Asking(followed_by(WORD), 512, prompts.with_tokens),
            "cambrian": Asking(followed_by(WORD), 512, prompts.with_tokens, tokens=True),
            "lmms_eval": Asking(prompts.capitalised, _OPEN, prompts.capitalised_with_tokens),
            "vlmevalkit": Asking(followed_by(WORD), _VLM),
        },
        free=True,
        notes=("OCR tokens in the prompt move scores by ten points and more: --ocr and --no-ocr",),
    ),
    Task(
        "vqav2", "lmms-lab/VQAv2", "validation", 214354, hub.vqav2, tables.short,
        _without(_short(WORD, 128, 16), "cambrian"), free=True,
    ),
    Task(
        "gqa", "lmms-lab/GQA", "testdev", 12578, hub.gqa, tables.one_short, _short(WORD, 128, 16),
        configs=("testdev_balanced_instructions",), images=Images("testdev_balanced_images"), free=True,
    ),
    Task(
        "ai2d", "lmms-lab/ai2d", "test", 3088, hub.ai2d, tables.choice,
        {
            "official": Asking(choice(LETTER), 512),
            "cambrian": Asking(choice(LETTER), 512),
            "lmms_eval": Asking(choice(LETTER), 16),
            "vlmevalkit": _VLM_CHOICE,
        },
        notes=("pictures whose labels are masked by letters and those without mask differ by many points",),
    ),
    Task(
        "seed", "lmms-lab/SEED-Bench", "test", 19242, hub.seed, tables.choice,
        {
            "official": Asking(choice(LETTER), 512),
            "cambrian": Asking(choice(LETTER, " Options:"), 512),
            "lmms_eval": Asking(choice(LETTER), _OPEN),
            "vlmevalkit": _VLM_CHOICE,
        },
        notes=("videos are left out and counted: what remains is seed_image, 14,232 questions",),
    ),
    Task(
        "mmmu", "lmms-lab/MMMU", "validation", 900, hub.mmmu, tables.mmmu,
        {
            "official": Asking(prompts.official_mmmu, 512),
            "cambrian": Asking(prompts.cambrian_mmmu, 512, pictures="first"),
            "lmms_eval": Asking(prompts.lmms_mmmu, 128),
            "vlmevalkit": _VLM_CHOICE,
        },
        several=True,
        notes=("of several pictures Cambrian shows the first one, the others all: --pictures first, all",),
    ),
    Task(
        "mmmu_pro", "MMMU/MMMU_Pro", "test", 3460, hub.mmmu_pro, tables.choice,
        {
            "official": Asking(prompts.official_mmmu_pro, 512),
            "lmms_eval": Asking(prompts.lmms_mmmu_pro, 256),
            "vlmevalkit": _VLM_CHOICE,
        },
        configs=("standard (10 options)", "vision"),
        several=True,
        quoted="mean",
        notes=("the mean of ten options and of questions inside the picture, 1,730 each",),
    ),
    Task(
        "pope", "lmms-lab/POPE", "test", 9000, hub.pope, tables.yes_no,
        {
            "official": Asking(followed_by(WORD), 128),
            "cambrian": Asking(followed_by(WORD), 128),
            "lmms_eval": Asking(followed_by(WORD), 128),
            "vlmevalkit": Asking(prompts.plain, _VLM),
        },
    ),
    Task(
        "mmbench", "lmms-lab/MMBench_EN", "dev", 4329, hub.mmbench, tables.mmbench,
        {
            "official": _VLM_CHOICE,
            "cambrian": Asking(choice(LETTER, " Options:", "\n"), 512),
            "vlmevalkit": _VLM_CHOICE,
        },
        quoted="circular_accuracy",
        notes=("1,164 questions in all rotations",),
    ),
    Task(
        "scienceqa", "derek-thomas/ScienceQA", "test", 4241, hub.scienceqa, tables.scienceqa,
        {
            "official": Asking(choice(LETTER, hint_end="\n"), 512),
            "cambrian": Asking(choice(ONLY_LETTER, hint_end=" "), 512),
            "lmms_eval": Asking(prompts.lmms_scienceqa, 16),
            "vlmevalkit": _VLM_CHOICE,
        },
        needs_picture=False,
        quoted="accuracy_with_image",
        notes=("2,017 questions have a picture; accuracy_with_image is what is mostly quoted",),
    ),
    Task(
        "chartqa", "lmms-lab/ChartQA", "test", 2500, hub.chartqa, tables.chartqa,
        _short(prompts.ONE_WORD, 128, 16, prompts.NUMBER), free=True,
    ),
    Task(
        "mmvp", "MMVP/MMVP", "train", 300, hub.mmvp, tables.mmvp,
        {
            "official": Asking(choice(LETTER), 512),
            "cambrian": Asking(choice(LETTER, " Options:"), 512),
            "lmms_eval": Asking(choice(LETTER), 16),
            "vlmevalkit": _VLM_CHOICE,
        },
        quoted="pair_accuracy",
        notes=("150 pairs; lmms-eval's copy has four right answers corrected",),
    ),
    Task(
        "mmstar", "Lin-Chen/MMStar", "val", 1500, hub.mmstar, tables.mmstar,
        {
            "official": Asking(prompts.mmstar(LETTER), 512),
            "cambrian": Asking(prompts.mmstar(ONLY_LETTER), 128),
            "lmms_eval": Asking(prompts.mmstar(LETTER.removesuffix(".")), _OPEN),
            "vlmevalkit": _VLM_CHOICE,
        },
        notes=(_STARRED,),
    ),
    Task(
        "docvqa", "lmms-lab/DocVQA", "validation", 5349, hub.documents, tables.short,
        _without(_short(WORD, 128, 32), "cambrian"), configs=("DocVQA",),
        quoted="anls", free=True,
    ),
    Task(
        "infovqa", "lmms-lab/DocVQA", "validation", 2801, hub.documents, tables.short,
        _without(_short(WORD, 128, 32), "cambrian"), configs=("InfographicVQA",),
        quoted="anls", free=True,
    ),
    Task(
        "stvqa", "lmms-lab/ST-VQA", "test", None, hub.documents, tables.short,
        _without(_short(WORD, 128, 32), "cambrian"),
        quoted="anls",
        free=True,
        notes=("the published test has no answers: score a split of your own, or submit the records",),
    ),
)  # fmt: skip

BARE = "bare"
"""The question alone, for models that never saw an instruction; scored as the benchmark's first protocol."""


def _with_bare(task: Task) -> Task:
    first = next(iter(task.asking))
    return replace(
        task, asking={**task.asking, BARE: Asking(prompts.bare, 32, scored_as=first, pictures="first")}
    )


TASKS: dict[str, Task] = {task.name: _with_bare(task) for task in _ALL}
