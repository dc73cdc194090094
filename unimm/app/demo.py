"""The demonstration: a model draws, checks, describes and questions its own pictures, and holds a short conversation."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from unimm.app import installation
from unimm.app.files import encode, write
from unimm.app.page import render
from unimm.app.report import Drawing, Exchange, Report
from unimm.app.sheet import contact_sheet

if TYPE_CHECKING:
    from unimm import UniMM

VERIFIER = "answer_logits"

# One prompt of each of the world's families, with questions that its picture should answer.
PROMPTS = (
    ("a red heart", ("What shape is it?", "What colour is the heart?")),
    ("a yellow star and a blue circle", ("How many shapes are there?", "What colour is the star?")),
    ("three green triangles", ("How many triangles are there?", "Is there a heart?")),
    ("a purple moon", ("What colour is the moon?", "Is there a star?")),
    (
        "a white cross left of a brown square",
        ("What is right of the cross?", "Is the cross left of the square?"),
    ),
    ("a pink diamond and a black circle", ("What colour is the diamond?", "What shape is black?")),
)

TALK = (
    "Generate an image of two blue stars",
    "How many stars are there?",
    "Generate an image of an orange heart above a green square",
    "Describe this image.",
)


def run(model: UniMM, name: str, steps: int, best_of: int, seed: int, say: Callable[[str], None]) -> Report:
    """Let a model show what it can do and return the record of it; `say` gets a line for each thing done."""
    start = time.perf_counter()
    say(
        f"Drawing {len(PROMPTS)} prompts, best of {best_of} each, checked in latent space before any pixel is made"
    )
    drawings = tuple(
        _draw(model, prompt, questions, steps, best_of, seed + index, say)
        for index, (prompt, questions) in enumerate(PROMPTS)
    )
    say("Talking")
    exchanges = _talk(model, seed, steps, say)
    seconds = time.perf_counter() - start
    return Report(name, drawings, exchanges, best_of, VERIFIER, steps, seed, seconds, _facts(model))


def save(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write the pictures, the page and the contact sheet; return the paths of the page and the sheet.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, drawing in enumerate(report.drawings, start=1):
        write(folder / f"drawing-{index}.png", encode(drawing.image))
    spoken = [image for exchange in report.exchanges for image in exchange.images]
    for index, image in enumerate(spoken, start=1):
        write(folder / f"conversation-{index}.png", encode(image))
    sheet = write(folder / "demo.png", encode(contact_sheet(report.drawings)))
    return write(folder / "index.html", render(report)), sheet


def _draw(model, prompt, questions, steps, best_of, seed, say) -> Drawing:
    start = time.perf_counter()
    out = model.generate_image(
        prompt, num_inference_steps=steps, best_of=best_of, verifier=VERIFIER, seed=seed
    )
    seconds = time.perf_counter() - start
    image, scores = out.images[0], tuple(float(score) for score in out.scores[0])
    say(f"  {prompt}: {seconds:.1f} s, scores {min(scores):.2f} to {max(scores):.2f}")
    caption = model.caption(image)
    say(f"    sees: {caption}")
    answers = tuple((question, model.answer(image, question)) for question in questions)
    for question, answer in answers:
        say(f"    {question} {answer}")
    return Drawing(prompt, image, scores, caption, answers, seconds)


def _talk(model, seed, steps, say) -> tuple[Exchange, ...]:
    from unimm.app.talk import Talk

    talk = Talk(model, seed=seed, steps=steps)
    exchanges = []
    for said in TALK:
        start = time.perf_counter()
        text, images = talk.say(said)
        drawn = f"[{len(images)} picture] " if images else ""
        say(f"  you: {said}\n  model: {drawn}{text}")
        exchanges.append(Exchange(said, text, tuple(images), time.perf_counter() - start))
    return tuple(exchanges)


def _facts(model) -> tuple[tuple[str, str], ...]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        ("Parameters", f"{parameters / 1e6:.1f} million, encoder and decoder among them"),
        ("torch", installation.torch_build()),
        ("Installed packages", installation.weight()),
    )
