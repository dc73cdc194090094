"""Options of `unimm eval` that several of its commands take, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Bench = Annotated[str, typer.Option("--bench", "-b", help="geneval, dpg, wise, geneval2 or world.")]
Prompts = Annotated[
    Path | None, typer.Option(help="The benchmark's prompts: its file or folder; world needs none.")
]
OtherPrompts = Annotated[
    bool, typer.Option("--allow-other-prompts", help="Take prompts or questions with another hash.")
]
Split = Annotated[str | None, typer.Option(help="Of the world: held_in or held_out.")]
Limit = Annotated[int | None, typer.Option(help="Use so many prompts, balanced over tasks.")]
Samples = Annotated[int | None, typer.Option(help="Pictures per prompt; default: the official number.")]
Rank = Annotated[int | None, typer.Option(help="Which share is done here; default: $RANK, or 0.")]
WorldSize = Annotated[int | None, typer.Option(help="How many shares; default: $WORLD_SIZE, or 1.")]
Template = Annotated[str, typer.Option(help="Words around every prompt; a part of the protocol.")]
BatchSize = Annotated[int, typer.Option(help="Candidates drawn together.")]
Revision = Annotated[str | None, typer.Option(help="Of a model on the hub.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The folder to write.")]
Detector = Annotated[str | None, typer.Option(help="Finds things: oracle, mask2former:FOLDER.")]
Classifier = Annotated[str | None, typer.Option(help="Names colours: oracle, clip:FOLDER.")]
Vqa = Annotated[str | None, typer.Option(help="Answers yes or no: vlm:FOLDER, endpoint:MODEL@URL, ...")]
Soft = Annotated[str | None, typer.Option(help="Gives probabilities of answers: vlm:FOLDER, own:NAME.")]
JudgeName = Annotated[
    str | None, typer.Option("--judge", help="Gives marks: vlm:FOLDER, endpoint:MODEL@URL.")
]
Questions = Annotated[Path | None, typer.Option(help="Of DPG-Bench: dpg_bench.csv.")]
Request = Annotated[Path | None, typer.Option(help="Of WISE: the words that the judge is asked with.")]
Rule = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        help="A number of GenEval's rules, such as counting_threshold=0.5 or max_overlap=0.9; "
        "repeat it for several. It stands in the metric's key.",
    ),
]
Protocol = Annotated[str | None, typer.Option(help="The scorer's rules, such as official or fixed.")]
