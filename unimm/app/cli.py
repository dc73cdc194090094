"""The command line. Commands only parse and print; heavy imports happen inside them, so that help is quick."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from unimm.app import exits

app = typer.Typer(
    name="unimm",
    help="One model that sees, talks and draws, and checks what it drew.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
evaluation = typer.Typer(no_args_is_help=True, help="Measure a model.")
app.add_typer(evaluation, name="eval")

Model = Annotated[str, typer.Option("--model", "-m", help="tiny (built in), a folder, or a hub id.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps of the sampler.")]
Guidance = Annotated[float, typer.Option(min=0.0, help="Classifier-free guidance; 1 is none.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed draws the same picture.")]
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
        Path, typer.Option("--out", "-o", help="The picture to write; -1, -2, ... are added to several.")
    ],
    num: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 1,
    best_of: Annotated[int, typer.Option(min=1, help="Candidates per picture; the best is decoded.")] = 1,
    verifier: Annotated[
        str, typer.Option(help="Who scores candidates: answer_logits or prompt_confidence.")
    ] = "answer_logits",
    steps: Steps = 50,
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    model: Model = "tiny",
) -> None:
    """Draw a prompt."""
    from unimm.app.files import check_out, encode, numbered, write

    check_out(out)
    loaded = _load(model)
    start = time.perf_counter()
    with _status(f"drawing {prompt!r}"):
        drawn = loaded.generate_image(
            prompt,
            num_inference_steps=steps,
            guidance_scale=guidance,
            num_images_per_prompt=num,
            best_of=best_of,
            verifier=verifier,
            seed=seed,
        )
    for index, (path, image) in enumerate(zip(numbered(out, num), drawn.images, strict=True)):
        write(path, encode(image, path.suffix))
        print(path, _score(drawn.scores, index, best_of))
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)


@app.command()
def caption(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    model: Model = "tiny",
) -> None:
    """Describe a picture."""
    picture = _picture(image)
    print(_load(model).caption(picture))


@app.command()
def answer(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    question: Annotated[str, typer.Argument(help="What to ask of it.")],
    model: Model = "tiny",
) -> None:
    """Answer a question about a picture."""
    picture = _picture(image)
    print(_load(model).answer(picture, question))


@app.command()
def chat(
    folder: Annotated[Path, typer.Option(help="Where drawn pictures go.")] = Path(),
    steps: Steps = 50,
    seed: Seed = 0,
    model: Model = "tiny",
) -> None:
    """Talk with a model: words and pictures, both ways."""
    from unimm.app.talk import converse

    if not folder.is_dir():
        raise FileNotFoundError(f"--folder: there is no folder {str(folder)!r}; make it first")
    converse(_load(model), folder, seed=seed, steps=steps)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("demo"),
    best_of: Annotated[int, typer.Option(min=1, help="Candidates per picture.")] = 8,
    steps: Steps = 50,
    seed: Seed = 0,
    model: Model = "tiny",
) -> None:
    """Draw, check, describe, question and converse; write the pictures and a page that shows them."""
    from unimm.app import demo as demonstration
    from unimm.app.installation import CHOOSE_TORCH

    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    report = demonstration.run(_load(model), model, steps, best_of, seed, print)
    page, sheet = demonstration.save(report, out)
    for name, value in report.facts:
        print(f"{name}: {value}")
    print(
        f"{CHOOSE_TORCH}\nDone in {time.perf_counter() - start:.0f} s: {page} shows it all, {sheet} is its picture."
    )


@app.command(context_settings=FORWARD)
def train(context: typer.Context) -> None:
    """Train a stage: unimm train STAGE CONFIG key=value..."""
    from unimm.training import stages

    stages.main(context.args)


@evaluation.command("world", context_settings=FORWARD)
def evaluate_world(context: typer.Context) -> None:
    """Score drawings, answers and self-verification on the built-in world."""
    from unimm.evaluation import world

    world.main(context.args)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(exits.run(app, [word for word in given if word != "--debug"], debug="--debug" in given))


def _load(name: str):
    """Return a model by name, ready to draw."""
    with _status(f"loading {name}"):
        from unimm import UniMM

        return UniMM.from_pretrained(name).eval()


def _picture(path: Path):
    """Open a picture before any model is loaded, so that a bad one is told at once."""
    from unimm.latents.pixels import load_image

    return load_image(path)


def _score(scores, index: int, best_of: int) -> str:
    if best_of == 1:
        return ""
    return f"score {max(float(score) for score in scores[index]):.3f}, the best of {best_of}"


@contextmanager
def _status(text: str):
    """Show on stderr what is going on, where a person watches."""
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
