"""The demonstration: a model draws, checks, describes and questions its own pictures, and converses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from unimm.app import installation
from unimm.app.files import encode
from unimm.app.page import render
from unimm.app.report import Drawing, Exchange, Plan, Report
from unimm.app.sheet import contact_sheet
from unimm.whole import write_whole

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from unimm import UniMM

SEEDS_APART = 1000  # between prompts; the candidates of one prompt take consecutive seeds

# A prompt of each of the world's six families, with questions that its picture should answer.
PROMPTS = (
    ("a star on a lilac background", ("What is the background?", "How many stars are there?")),
    ("a heart and a circle", ("Is there a heart?", "Where is the heart relative to the circle?")),
    ("three squares", ("How many squares are there?", "Is there a moon?")),
    ("a red heart", ("What color is the heart?", "What shape is the red object?")),
    (
        "a moon left of a circle",
        ("Is the moon left of the circle?", "Where is the circle relative to the moon?"),
    ),
    ("a yellow star and a blue square", ("What color is the star?", "What shape is the blue object?")),
)

TALK = (
    "Generate an image of two yellow hearts",
    "How many hearts are there?",
    "Generate an image of a pink moon above a white square",
    "Describe this image.",
)


def run(model: UniMM, name: str, plan: Plan, say: Callable[[str], None]) -> Report:
    """Let a model show what it can do and return the record of it; `say` gets a line for each thing done."""
    start = time.perf_counter()
    say(f"Drawing {len(PROMPTS)} prompts, best of {plan.best_of} each, checked before any pixel is made")
    drawings = tuple(
        _draw(model, prompt, questions, plan, plan.seed + SEEDS_APART * index, say)
        for index, (prompt, questions) in enumerate(PROMPTS)
    )
    say("Talking")
    exchanges = _talk(model, plan, say)
    seconds = time.perf_counter() - start
    return Report(name, drawings, exchanges, plan, seconds, _facts(model))


def save(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write the pictures, the page and the contact sheet; return the paths of the page and the sheet.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, drawing in enumerate(report.drawings, start=1):
        write_whole(folder / f"drawing-{index}.png", encode(drawing.image))
    spoken = [image for exchange in report.exchanges for image in exchange.images]
    for index, image in enumerate(spoken, start=1):
        write_whole(folder / f"conversation-{index}.png", encode(image))
    sheet = write_whole(folder / "demo.png", encode(contact_sheet(report.drawings)))
    return write_whole(folder / "index.html", render(report)), sheet


def _draw(
    model: UniMM, prompt: str, questions: tuple[str, ...], plan: Plan, seed: int, say: Callable[[str], None]
) -> Drawing:
    start = time.perf_counter()
    # All candidates are kept as latents, so that their scores can be shown; only the winner becomes pixels.
    out = model.generate_image(
        prompt,
        num_inference_steps=plan.steps,
        num_images_per_prompt=plan.best_of,
        best_of=plan.best_of,
        verifier=plan.verifier,
        seed=seed,
        output_type="latent",
    )
    image = _show(model, out.latents[:1])
    seconds = time.perf_counter() - start
    scores = tuple(score for _, score in sorted(zip(out.seeds, out.scores, strict=True)))
    say(f"  {prompt}: {seconds:.1f} s, scores {min(scores):.2f} to {max(scores):.2f}")
    caption = model.caption(image)
    say(f"    seen: {caption}")
    answers = tuple((question, model.answer(image, question)) for question in questions)
    for question, answer in answers:
        say(f"    {question} {answer}")
    return Drawing(prompt, image, scores, caption, answers, seconds)


def _show(model: UniMM, latents: Tensor) -> Image.Image:
    """Return latents [1 N C] as a picture."""
    import torch

    from unimm.latents.pixels import to_images

    with torch.inference_mode():
        return to_images(model.decode_latents(latents.to(model.dtype)).float())[0]


def _talk(model: UniMM, plan: Plan, say: Callable[[str], None]) -> tuple[Exchange, ...]:
    from unimm import Conversation

    talk = Conversation(model, num_inference_steps=plan.steps)
    exchanges = []
    for index, said in enumerate(TALK):
        start = time.perf_counter()
        reply = talk.say(said, seed=plan.seed + index)
        say(f"  you:   {said}\n  model: {'[a picture] ' * len(reply.images)}{reply.text}")
        exchanges.append(Exchange(said, reply.text, tuple(reply.images), time.perf_counter() - start))
    return tuple(exchanges)


def _facts(model: UniMM) -> tuple[tuple[str, str], ...]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        ("Parameters", f"{parameters / 1e6:.1f} million, encoder and decoder among them"),
        ("torch", installation.torch_build()),
        ("Installed packages", installation.weight()),
    )
