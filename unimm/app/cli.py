"""The command line. Commands parse and print; heavy imports happen inside them, so that help is quick."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from unimm.app import exits

app = typer.Typer(
    name="unimm",
    help="One model that sees, talks and draws, and checks what it drew.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
evaluation = typer.Typer(no_args_is_help=True, help="Measure a model.")
app.add_typer(evaluation, name="eval")


def at_least(lowest: int):
    """Return a check that an option is no lower than this."""

    def check(value: float | None) -> float | None:
        if value is not None and not value >= lowest:  # so that "not a number" is refused too
            raise typer.BadParameter(f"expected {lowest} or more, got {value}")
        return value

    return check


Model = Annotated[str, typer.Option("--model", "-m", help="tiny (built in), a folder, or a hub id.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Steps = Annotated[int, typer.Option(callback=at_least(1), help="Steps of the sampler.")]
BestOf = Annotated[
    int, typer.Option(callback=at_least(1), help="Candidates per picture; the best is decoded.")
]
Guidance = Annotated[
    float | None,
    typer.Option(callback=at_least(0), help="Classifier-free guidance; 1 is none. Default: the model's own."),
]
Seed = Annotated[int, typer.Option(callback=at_least(0), help="The same seed draws the same picture.")]
# Whatever stands behind such a command goes on to the function behind it, its --help too.
FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """One model that sees, talks and draws, and checks what it drew."""  # `main` has read --debug already


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture to write; without it the prompt names it.")
    ] = None,
    num: Annotated[int, typer.Option(callback=at_least(1), help="How many pictures; numbers are added.")] = 1,
    best_of: BestOf = 1,
    verifier: Annotated[
        str, typer.Option(help="Who scores candidates: answer_logits or prompt_confidence.")
    ] = "answer_logits",
    steps: Steps = 50,
    guidance: Guidance = None,
    seed: Seed = 0,
    model: Model = "tiny",
    device: Device = "cpu",
) -> None:
    """Draw a prompt."""
    from unimm.app.files import check_out, encode, name_for, numbered, write

    out = check_out(out or name_for(prompt))
    loaded = _load(model, device)
    start = time.perf_counter()
    with _progress("drawing") as callback:
        drawn = loaded.generate_image(
            prompt,
            num_inference_steps=steps,
            guidance_scale=guidance,
            num_images_per_prompt=num,
            best_of=best_of,
            verifier=verifier if best_of > 1 else None,
            seed=seed,
            callback=callback,
        )
    scores = drawn.scores or [None] * num
    for path, image, score, own in zip(numbered(out, num), drawn.images, scores, drawn.seeds, strict=True):
        write(path, encode(image, path.suffix))
        print(
            f"{path}  seed {own}" + (f"  score {score:.3f}, of {best_of} drawn" if score is not None else "")
        )
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)


@app.command()
def caption(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    model: Model = "tiny",
    device: Device = "cpu",
) -> None:
    """Describe a picture."""
    picture = _picture(image)
    print(_load(model, device).caption(picture))


@app.command()
def answer(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    question: Annotated[str, typer.Argument(help="What to ask of it.")],
    model: Model = "tiny",
    device: Device = "cpu",
) -> None:
    """Answer a question about a picture."""
    picture = _picture(image)
    print(_load(model, device).answer(picture, question))


@app.command()
def chat(
    folder: Annotated[Path, typer.Option(help="Where drawn pictures go.")] = Path(),
    steps: Steps = 50,
    guidance: Guidance = None,
    seed: Seed = 0,
    model: Model = "tiny",
    device: Device = "cpu",
) -> None:
    """Talk with a model: words and pictures, both ways."""
    from unimm.app.terminal import Terminal

    if not folder.is_dir():
        raise FileNotFoundError(f"--folder: there is no folder {str(folder)!r}; make it first")
    Terminal(_load(model, device), folder, seed, num_inference_steps=steps, guidance_scale=guidance).run()


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("demo"),
    best_of: BestOf = 8,
    steps: Steps = 50,
    seed: Seed = 0,
    model: Model = "tiny",
    device: Device = "cpu",
) -> None:
    """Draw, check, describe, question and converse; write the pictures and a page that shows them."""
    from unimm.app import demo as demonstration
    from unimm.app.installation import CHOOSE_TORCH
    from unimm.app.report import Plan

    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    report = demonstration.run(_load(model, device), model, Plan(steps, best_of, seed), print)
    page, sheet = demonstration.save(report, out)
    for name, value in report.facts:
        print(f"{name}: {value}")
    print(CHOOSE_TORCH)
    print(f"Done in {time.perf_counter() - start:.0f} s: {page} shows it all, {sheet} is its picture.")


@app.command()
def train(
    stage: Annotated[
        str | None, typer.Argument(help="Which stage; without one the stages are listed.")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="A YAML file and changes to it."),
    ] = None,
) -> None:
    """Train a stage of a model."""
    from unimm.training import stages

    if stage is None:
        print("\n".join(stages.STAGES))
    else:
        stages.main(stage, recipe or [])


@evaluation.command("world", context_settings=FORWARD)
def evaluate_world(context: typer.Context) -> None:
    """Score drawings, answers and self-verification on the built-in world."""
    from unimm.evaluation import world

    world.main(context.args)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(exits.run(app, [word for word in given if word != "--debug"], debug="--debug" in given))


def _load(name: str, device: str):
    """Return a model by name, ready to draw on a device."""
    with _status(f"loading {name}"):
        from transformers.utils import logging

        from unimm import UniMM

        place = _device(device)
        logging.disable_progress_bar()  # of transformers, which writes it to files too
        return UniMM.from_pretrained(name).eval().to(place)


def _device(name: str):
    """Return a device that torch knows and has, or say what it has."""
    import torch

    has = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name not in (*has, "cuda") or (name == "cuda" and len(has) == 1):
        raise ValueError(f"--device: expected one of {', '.join(has)}, got {name!r}")
    return torch.device(name)


def _picture(path: Path):
    """Open a picture before any model is loaded, so that a bad one is told at once."""
    from unimm.latents.pixels import load_image

    return load_image(path)


@contextmanager
def _status(text: str):
    """Show what is going on, where a person watches."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(text) if console.is_terminal else nullcontext():
        yield


@contextmanager
def _progress(text: str):
    """Yield a `callback(step, total)` that moves a bar on stderr, or None where nobody watches."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda step, total: bar.update(task, completed=step, total=total)
