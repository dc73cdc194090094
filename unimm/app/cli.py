"""The command line. Commands parse and print; heavy imports happen inside them, so that help is quick."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from unimm.app import curves, exits, picture_sets, questions
from unimm.app.convert import convert as convert_folder
from unimm.app.data import data
from unimm.app.opening import open_context, open_model, progress
from unimm.app.options import (
    Adapter,
    BestOf,
    Compiled,
    Device,
    Dtype,
    Guidance,
    Interval,
    Model,
    Negative,
    Num,
    Out,
    Pictures,
    ProfileName,
    SaveLatents,
    Seed,
    Solver,
    Steps,
    StopMargin,
    StopProbability,
    VerifierName,
)
from unimm.app.plan import plan as plan_run
from unimm.app.train import train

app = typer.Typer(
    name="unimm",
    help="One model that sees, talks and draws, and checks what it drew.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# One group, to which each file adds its commands.
assert curves.evaluation is questions.evaluation is picture_sets.evaluation
app.add_typer(questions.evaluation, name="eval")
app.add_typer(data, name="data")
app.command("convert")(convert_folder)
app.command("train")(train)
app.command("plan")(plan_run)


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """One model that sees, talks and draws, and checks what it drew."""  # `main` has read --debug already


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    image: Pictures = None,
    out: Out = None,
    save_latents: SaveLatents = False,
    num: Num = 1,
    best_of: BestOf = 1,
    verifier: VerifierName = None,
    stop_margin: StopMargin = None,
    stop_probability: StopProbability = None,
    steps: Steps = 50,
    solver: Solver = None,
    guidance: Guidance = None,
    interval: Interval = None,
    negative: Negative = None,
    seed: Seed = 0,
    model: Model = "tiny",
    adapter: Adapter = None,
    profile: ProfileName = "standard",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    compile: Compiled = False,
) -> None:
    """Draw a prompt."""
    from unimm.app.files import check_out, name_for, write_drawn

    out = check_out(out or name_for(prompt))
    context = [open_context(path) for path in image or []]
    loaded = open_model(model, device, dtype, profile, compile, adapter=adapter)
    start = time.perf_counter()
    with progress("drawing") as callback:
        drawn = loaded.generate_image(
            prompt,
            context or None,
            num_inference_steps=steps,
            solver=solver,
            guidance_scale=guidance,
            guidance_interval=interval,
            negative_prompt=negative,
            num_images_per_prompt=num,
            best_of=best_of,
            verifier=verifier,
            stop_margin=stop_margin,
            stop_probability=stop_probability,
            seed=seed,
            callback=callback,
        )
    for line in write_drawn(drawn, out, prompt, save_latents):
        print(line)
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)


@app.command()
def caption(
    image: Annotated[list[Path], typer.Argument(help="A picture, or several.")],
    model: Model = "tiny",
    adapter: Adapter = None,
    profile: ProfileName = "standard",
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Describe a picture; of several, each in a line behind its name."""
    pictures = [open_context(path) for path in image]
    said = open_model(model, device, dtype, profile, adapter=adapter).caption(pictures)
    for path, text in zip(image, said, strict=True):
        print(text if len(image) == 1 else f"{path}: {text}")


@app.command()
def answer(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    question: Annotated[str, typer.Argument(help="What to ask of it.")],
    model: Model = "tiny",
    adapter: Adapter = None,
    profile: ProfileName = "standard",
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Answer a question about a picture."""
    picture = open_context(image)
    print(open_model(model, device, dtype, profile, adapter=adapter).answer(picture, question))


@app.command()
def chat(
    folder: Annotated[Path, typer.Option(help="Where drawn pictures go.")] = Path(),
    steps: Steps = 50,
    guidance: Guidance = None,
    seed: Seed = 0,
    model: Model = "tiny",
    adapter: Adapter = None,
    device: Device = "cpu",
) -> None:
    """Talk with a model: words and pictures, both ways."""
    from unimm.app.terminal import Terminal

    if not folder.is_dir():
        raise FileNotFoundError(f"--folder: there is no folder {str(folder)!r}; make it first")
    Terminal(
        open_model(model, device, adapter=adapter),
        folder,
        seed,
        num_inference_steps=steps,
        guidance_scale=guidance,
    ).run()


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
    report = demonstration.run(open_model(model, device), model, Plan(steps, best_of, seed), print)
    page, sheet = demonstration.save(report, out)
    for name, value in report.facts:
        print(f"{name}: {value}")
    print(CHOOSE_TORCH)
    print(f"Done in {time.perf_counter() - start:.0f} s: {page} shows it all, {sheet} is its picture.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(exits.run(app, [word for word in given if word != "--debug"], debug="--debug" in given))
