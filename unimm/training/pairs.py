"""Pairs for the preference stage: read from a file, or made by drawing with the model and judging.

folder/
    making.json           what makes the pairs: settings, and the mark of the model's weights
    part-00000.jsonl      pairs of some prompts; whole or not there
    00012-chosen.png ...  the pictures, by the prompt's position
    pairs.jsonl           all of them, when all parts are there
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.progress import track

from unimm.data.pictures import measure_file
from unimm.data.samples import BrokenSample
from unimm.latents.pixels import to_images
from unimm.model.adapter_files import base_of
from unimm.model.unimm import UniMM
from unimm.request import positive
from unimm.tables import pick
from unimm.training.prompting import PromptData
from unimm.training.rewards import REWARDS, Reward, scores_of
from unimm.whole import placed_lines, read_json, write_whole

_PART = 16  # prompts drawn together
_MANY = 2000  # pictures whose headers take long enough to show a bar, on a slow disk


@dataclass(frozen=True)
class Pair:
    """A prompt, and the files of its better and its worse picture."""

    prompt: str
    chosen: Path
    rejected: Path


@dataclass(frozen=True)
class MakePairs:
    """How pairs are made."""

    num_prompts: int  # of which those give pairs whose pictures differ in score
    prompts: PromptData = field(default_factory=PromptData)
    reward: str = "reader"  # a row of REWARDS
    candidates: int = 4  # drawings per prompt
    pairs_per_prompt: int = 1  # the best with the worst, the second best with the second worst, ...
    margin: float = 0.0  # a pair's scores differ by more than this
    steps: int = 20  # of the sampler
    guidance: float | None = None  # null: the model's own
    seed: int = 0  # of the noise

    def __post_init__(self) -> None:
        pick("make.reward", self.reward, REWARDS)
        positive("make.num_prompts", self.num_prompts)
        positive("make.steps", self.steps)
        positive("make.pairs_per_prompt", self.pairs_per_prompt)
        if self.candidates < 2 * self.pairs_per_prompt:
            raise ValueError(
                f"make.candidates: expected {2 * self.pairs_per_prompt} or more for pairs_per_prompt "
                f"{self.pairs_per_prompt}, got {self.candidates}"
            )
        if not self.margin >= 0:
            raise ValueError(f"make.margin: expected 0 or more, got {self.margin}")


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a file; relative paths begin at its folder.

    Raises:
        FileNotFoundError: no such file, or the first picture that cannot be used is missing.
        ValueError: no pairs, a line of another form, one whose two pictures are the same, or the first
            picture that cannot be used is no picture by its header, animated or too large. Either way the
            line, the file and the number of the others are told.
    """
    pairs = {where: _pair(where, row, path.parent) for where, row in placed_lines(path)}
    if not pairs:
        raise ValueError(f"{path}: expected one pair or more, got none")
    _check_pictures(pairs)
    return list(pairs.values())


def made_pairs(model: UniMM, make: MakePairs, folder: Path, reward: Reward | None = None) -> list[Pair]:
    """Return the pairs that a model makes, on from the parts that are in the folder.

    Args:
        model: who draws; it also judges, where the reward is one of its verifiers.
        reward: instead of the row that `make` names.

    Raises:
        ValueError: the folder holds pairs of other settings or weights, or no prompt gave a pair.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder / "making.json", {**asdict(make), "weights": base_of(model).weights})
    reward = reward or REWARDS[make.reward](model)
    parts = range(0, make.num_prompts, _PART)
    for start in track(parts, "drawing pairs"):
        part = folder / f"part-{start:05d}.jsonl"
        if not part.exists():
            lines = _make(model, make, reward, folder, start, min(_PART, make.num_prompts - start))
            _write(part, lines)
    lines = [
        line for start in parts for line in (folder / f"part-{start:05d}.jsonl").read_text().splitlines()
    ]
    if not lines:
        raise ValueError(
            f"make: none of {make.num_prompts} prompts gave pictures that {make.reward!r} tells apart; draw "
            "more candidates, or other prompts"
        )
    _write(folder / "pairs.jsonl", lines)
    return read_pairs(folder / "pairs.jsonl")


@torch.no_grad()
def _make(model: UniMM, make: MakePairs, reward: Reward, folder: Path, start: int, count: int) -> list[str]:
    """Draw and judge the candidates of some prompts; write the pictures, return the lines of their pairs."""
    n, asked = make.candidates, make.prompts.open().at(start, count)
    first = (make.seed * make.num_prompts + start) * n
    drawn = model.generate_image(
        [each.text for each in asked],
        num_inference_steps=make.steps,
        guidance_scale=make.guidance,
        num_images_per_prompt=n,
        seed=[first + index * n for index in range(count)],
        output_type="latent",
    ).latents
    each = [prompt for prompt in asked for _ in range(n)]
    scores = scores_of(reward, model, drawn, [e.text for e in each], [e.metadata for e in each])
    lines = []
    for index, row in enumerate(scores.reshape(count, n).tolist()):
        order = sorted(range(n), key=lambda i, row=row: -row[i])
        for number in range(make.pairs_per_prompt):
            best, worst = order[number], order[-1 - number]
            if row[best] - row[worst] <= make.margin:
                break
            latents = torch.stack([drawn[index * n + i] for i in (best, worst)])
            names = [f"{start + index:05d}-{number}-{side}.png" for side in ("chosen", "rejected")]
            for name, image in zip(names, to_images(model.decode_latents(latents)), strict=True):
                image.save(folder / name)
            said = {"prompt": asked[index].text, "chosen": names[0], "rejected": names[1]}
            lines.append(json.dumps({**said, "scores": [row[best], row[worst]]}))
    return lines


def _pair(where: str, row: dict, folder: Path) -> Pair:
    values = [row.get(name) for name in ("prompt", "chosen", "rejected")]
    if not all(isinstance(value, str) and value.strip() for value in values):
        told = json.dumps(row, ensure_ascii=False)[:200]
        raise ValueError(f"{where}: expected texts prompt, chosen and rejected, got {told}")
    pair = Pair(values[0], folder / values[1], folder / values[2])
    if pair.chosen.resolve() == pair.rejected.resolve():
        raise ValueError(f"{where}: expected two pictures, got {values[1]!r} as chosen and as rejected")
    return pair


def _check_pictures(pairs: Mapping[str, Pair]) -> None:
    """Look at the header of every picture, each once; pairs are by their lines."""
    lines: dict[Path, str] = {}
    for where, pair in pairs.items():
        lines.setdefault(pair.chosen, where)
        lines.setdefault(pair.rejected, where)
    broken = []
    few = len(lines) < _MANY or os.environ.get("RANK", "0") != "0"
    for file, where in track(lines.items(), "checking pictures", len(lines), disable=few):
        try:
            measure_file(file, where)
        except BrokenSample as error:
            broken.append(error)
    if broken:
        wrong = FileNotFoundError if broken[0].kind == "missing" else ValueError
        raise wrong(f"{broken[0]}; and {len(broken) - 1} more of {len(lines)} pictures cannot be used")


def _claim(path: Path, wanted: dict) -> None:
    wanted = json.loads(json.dumps(wanted))
    if not path.exists():
        _write(path, [json.dumps(wanted, indent=1)])
        return
    found = read_json(path)
    odd = [key for key in wanted if found.get(key) != wanted[key]]
    if odd:
        told = "; ".join(f"{key} {found.get(key)!r} there, {wanted[key]!r} asked for" for key in odd)
        raise ValueError(f"{path.parent}: holds pairs that were made otherwise: {told}; name another folder")


def _write(path: Path, lines: Sequence[str]) -> None:
    write_whole(path, "".join(line + "\n" for line in lines))
