"""`unimm eval vqa`: a benchmark of questions about pictures, from data to card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimm.app.eval_inputs import full_name, load_model, short_name
from unimm.app.eval_options import Out, Rank, Revision, WorldSize
from unimm.app.evaluate import evaluation
from unimm.app.options import Adapter, Device, Dtype, Model, ProfileName


@evaluation.command("vqa")
def ask_questions(
    bench: Annotated[str, typer.Option("--bench", "-b", help="mme, textvqa, ...; `unimm eval questions`.")],
    data: Annotated[
        str,
        typer.Option(help="world, a .tsv table, a folder, or a data set on the hub such as lmms-lab/MME."),
    ] = "world",
    protocol: Annotated[
        str | None, typer.Option(help="official, cambrian, lmms_eval, vlmevalkit or bare: prompt and rules.")
    ] = None,
    out: Out = None,
    split: Annotated[str | None, typer.Option(help="Of the data. Default: the benchmark's own.")] = None,
    limit: Annotated[int | None, typer.Option(help="So many pictures, with all their questions.")] = None,
    ocr: Annotated[
        bool | None, typer.Option("--ocr/--no-ocr", help="Words read in the picture, in TextVQA's prompt.")
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(help="Of questions with several: first or all. Default: as the protocol does."),
    ] = None,
    data_revision: Annotated[
        str | None, typer.Option(help="Of a data set on the hub: a commit, branch or tag.")
    ] = None,
    unparsed: Annotated[
        str, typer.Option(help="What answers that nobody can read count as: wrong, random or first.")
    ] = "wrong",
    batch_size: Annotated[int, typer.Option(help="Questions asked together.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the world's questions.")] = 0,
    model: Model = "tiny",
    adapter: Adapter = None,
    revision: Revision = None,
    dtype: Dtype = "float32",
    profile: ProfileName = "standard",
    rank: Rank = None,
    world_size: WorldSize = None,
    device: Device = "cpu",
) -> None:
    """Ask a model a benchmark's questions and write the card. A run that was cut off goes on."""
    from unimm.evaluation.generate import Share
    from unimm.evaluation.vqa.runner import Settings, run

    settings = Settings(
        bench, data, protocol, split, limit, ocr, batch_size, unparsed, seed, pictures, data_revision
    )
    folder = out or Path("outputs") / f"{bench}-{settings.way}-{short_name(model, adapter)}"
    share = Share.of_environment(rank, world_size)
    loaded = load_model(model, device, revision, dtype, profile, adapter)
    card = run(loaded, settings, folder, full_name(model, adapter), share)
    if card is not None:
        print(f"\n{folder / 'card.html'} shows it with pictures, {folder / 'card.json'} keeps it.")


@evaluation.command("questions")
def list_questions() -> None:
    """List the benchmarks of questions, their data and their protocols."""
    from rich.console import Console
    from rich.table import Table

    from unimm.evaluation.vqa.tasks import TASKS

    table = Table("benchmark", "data set", "split", "questions", "protocols, the first is the default")
    for task in TASKS.values():
        table.add_row(task.name, task.dataset, task.split, str(task.size or "?"), ", ".join(task.asking))
    Console(width=None if Console().is_terminal else 140).print(table)
