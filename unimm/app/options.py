"""The options that several commands take, each written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def at_least(lowest: int) -> Callable[[float | None], float | None]:
    """Return a check that an option is no lower than this."""

    def check(value: float | None) -> float | None:
        if value is not None and not value >= lowest:  # so that "not a number" is refused too
            raise typer.BadParameter(f"expected {lowest} or more, got {value}")
        return value

    return check


# Which model, and how it computes.
Model = Annotated[str, typer.Option("--model", "-m", help="tiny (built in), a folder, or a hub id.")]
Adapter = Annotated[Path | None, typer.Option(help="Folder of an adapter that was made for the model.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, typer.Option(help="What the weights are held in: float32, bfloat16 or float16.")]
ProfileName = Annotated[
    str, typer.Option("--profile", help="standard, or reference for the published code's quirks.")
]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Compile the network that draws: pays for many pictures.")
]

# How pictures are drawn.
Steps = Annotated[int, typer.Option(callback=at_least(1), help="Steps of the sampler.")]
Guidance = Annotated[
    float | None,
    typer.Option(callback=at_least(0), help="Classifier-free guidance; 1 is none. Default: the model's own."),
]
Interval = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="The times in which guidance acts; 0 is data, 1 is noise."),
]
Negative = Annotated[
    str | None, typer.Option(help="What guidance leads away from; goes with --guidance other than 1.")
]
Solver = Annotated[
    str | None, typer.Option(help="clean, heun, rk4, euler_maruyama, scale_rae, ... Default: the profile's.")
]
Seed = Annotated[int, typer.Option(callback=at_least(0), help="The same seed draws the same picture.")]
Num = Annotated[int, typer.Option(callback=at_least(1), help="How many pictures; numbers are added.")]
BestOf = Annotated[
    int, typer.Option(callback=at_least(1), help="Candidates per prompt; the best are kept and decoded.")
]
VerifierName = Annotated[
    str | None,
    typer.Option(
        "--verifier", help="Who scores: p_yes, ... Default: answer_logits, where --best-of leaves a choice."
    ),
]
StopMargin = Annotated[
    float | None,
    typer.Option(metavar="SCORE", help="Draw no more once the last kept score is so far above the next."),
]
StopProbability = Annotated[
    float | None,
    typer.Option(
        metavar="P", help="Draw no more once every kept picture is right with this probability, up to 1."
    ),
]

# Files.
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The picture to write; without it the prompt names it.")
]
Pictures = Annotated[
    list[Path] | None,
    typer.Option(
        "--image",
        help="A picture, or latents, that stand before the prompt, for models trained so; may be repeated.",
    ),
]
SaveLatents = Annotated[
    bool, typer.Option("--save-latents", help="Write each picture's latents beside it, as .safetensors.")
]
