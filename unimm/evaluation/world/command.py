"""Measuring a model from the command line: `unimm eval world`, or `python -m eval.world`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from rich.console import Console

from unimm.evaluation.store import Store
from unimm.evaluation.world import card as cards
from unimm.evaluation.world import scoring
from unimm.evaluation.world.drawing import draw_candidates, draw_split, pass_on_truth
from unimm.evaluation.world.pictures import save_curve, save_sheets
from unimm.evaluation.world.seeing import see
from unimm.evaluation.world.settings import VERSION, Settings, fingerprint
from unimm.whole import write_whole
from unimm.world.prompts import SPLITS, Prompt, prompts
from unimm.world.scene import Scene

if TYPE_CHECKING:
    from unimm.model import UniMM


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="unimm eval world", description="Score a model on the built-in world.")
    defaults = Settings()
    parser.add_argument("--model", "-m", default="tiny", help="tiny (built in), a folder, or a hub id")
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="an adapter made for the model")
    parser.add_argument(
        "--limit",
        type=int,
        default=defaults.limit,
        help="prompts per split, balanced over the six families (600)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores here as well")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="pictures, records, parts (outputs/world-MODEL)"
    )
    parser.add_argument(
        "--seed", type=int, default=defaults.seed, help="of prompts, scenes, questions and noise"
    )
    parser.add_argument("--steps", type=int, default=defaults.steps, help="of the sampler (50)")
    parser.add_argument(
        "--guidance",
        type=float,
        default=defaults.guidance,
        help="guidance scale; 1 is none (the model's own)",
    )
    parser.add_argument("--fresh", action="store_true", help="do not go on from the parts of an earlier run")
    return parser


def main(arguments: Sequence[str]) -> None:
    """Measure a model and print its score card.

    Raises:
        ValueError: an option out of its range, or an unknown model.
        FileNotFoundError: no such model, or no folder for --json.
        OSError: the disk is full; what was measured so far is kept.
    """
    options = _parser().parse_args(list(arguments))
    settings = Settings(options.limit, options.steps, options.guidance, options.seed)
    if options.json is not None and not options.json.parent.is_dir():
        raise FileNotFoundError(f"--json: there is no folder {str(options.json.parent)!r}; make it first")
    from unimm import UniMM

    model = UniMM.from_pretrained(options.model, adapter=options.adapter).eval()
    with_adapter = "" if options.adapter is None else f"-{options.adapter.resolve().name}"
    out = options.out or Path("outputs") / f"world-{Path(options.model).name}{with_adapter}"
    start = time.perf_counter()
    card = measure(model, settings, out, options.fresh)
    seconds = time.perf_counter() - start
    console = Console(width=None if Console().is_terminal else 140)  # in a file nothing need be folded
    cards.show(card, console)
    if not save_curve(out / "best_of.png", card):
        console.print("no plot: it needs matplotlib (pip install 'unimm[eval]')", markup=False)
    text = json.dumps(cards.as_json(card), indent=1)
    facts = {
        "model": options.model,
        "adapter": None if options.adapter is None else str(options.adapter),
        **asdict(settings),
        "version": VERSION,
        "seconds": round(seconds, 1),
        **_machine(),
    }
    for path, content in ((out / "card.json", text), (out / "facts.json", json.dumps(facts, indent=1))):
        write_whole(path, content)
    if options.json is not None:
        write_whole(options.json, text)
    console.print(f"{seconds:.0f} s; pictures, records and scores are in {out}", highlight=False)


def measure(model: UniMM, settings: Settings, out: Path, fresh: bool = False) -> cards.Card:
    """Measure a model; write contact sheets and records to a folder; return the score card.

    Args:
        model: anything with UniMM's public face.
        settings: how.
        out: the folder; what the model produced is kept in `parts` there, and another call with the same
            weights and settings goes on from it.
        fresh: start over.
    """
    store = Store(out / "parts" / fingerprint(model, settings))
    if len(store):
        note = "starting over, without" if fresh else "going on from"
        Console(stderr=True).print(f"{note} {len(store)} parts in {store.folder}", highlight=False)
    if fresh:
        store.clear()
    card: dict = {}
    for split in SPLITS:
        card |= _measure_split(model, split, settings, store, out, card)
    asked, true = (
        prompts("held_in", settings.per_family, settings.seed),
        pass_on_truth(model, settings, store),
    )
    scenes = scoring.read_all(true["pictures"], "reading true pictures")
    card["ceiling"] = scoring.interval(scoring.obeyed(asked, scenes))
    card |= scoring.score_seeing(*see(model, settings, store))
    card |= _measure_best_of(model, settings, store)
    order = (
        "held_in",
        "held_out",
        "ceiling",
        "best_of",
        "gain_best_of_8",
        "vqa",
        "caption",
        "self_agreement",
        "psnr",
    )
    return {key: card[key] for key in order} | {key: card[key] for key in card if key not in order}


def _measure_split(model: UniMM, split: str, settings: Settings, store: Store, out: Path, card: dict) -> dict:
    asked, drawn = draw_split(model, split, settings, store)
    scenes = scoring.read_all(drawn["pictures"], f"reading {split} drawings")
    right = scoring.obeyed(asked, scenes)
    save_sheets(out, split, asked, drawn["pictures"], right)
    _save_records(out / f"{split}.jsonl", asked, scenes, right, drawn["answers"])
    chance = scoring.by_family(asked, scoring.obeyed(scoring.shuffled(asked), scenes))
    scored = {split: scoring.by_family(asked, right), "shuffled": {**card.get("shuffled", {}), split: chance}}
    if split == "held_in":
        scored["self_agreement"] = scoring.agreement(drawn["answers"], right)
    return scored


def _measure_best_of(model: UniMM, settings: Settings, store: Store) -> dict:
    asked, candidates = draw_candidates(model, settings, store)
    pictures = candidates["pictures"]
    scenes = scoring.read_all(pictures.reshape(-1, *pictures.shape[2:]), "reading candidates")
    each = [prompt for prompt in asked for _ in range(pictures.shape[1])]
    return scoring.score_best_of(scoring.obeyed(each, scenes).reshape(pictures.shape[:2]), candidates)


def _save_records(path: Path, asked: Sequence[Prompt], scenes: Sequence[Scene], right, answers) -> None:
    """Write one line per drawing: prompt, what was read, the verdict, and the model's own."""
    lines = [
        json.dumps(
            {
                "family": prompt.spec.family,
                "prompt": prompt.text,
                "right": bool(verdict),
                "model_says": str(answer),
                "background": scene.background,
                "things": [
                    [t.colour, t.shape, *np.round((t.x, t.y, t.radius), 3).tolist()] for t in scene.things
                ],
            }
        )
        for prompt, scene, verdict, answer in zip(asked, scenes, right, answers, strict=True)
    ]
    write_whole(path, "\n".join(lines) + "\n")


def _machine() -> dict[str, str | int | None]:
    import torch

    threads = torch.get_num_threads()
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
    }
