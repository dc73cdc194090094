"""`unimm data`: looking at data sets before they are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from unimm.data.doctor import Shown
    from unimm.data.doctor_report import Report

data = typer.Typer(name="data", help="Data sets to train on.", no_args_is_help=True)
STYLES = {"given": "dim", "learnt": "bold green", "seen": "blue", "drawn": "yellow"}
FALLBACK_SLOTS = 256  # Scale-RAE's; a folder of a model says its own


@data.callback()
def common() -> None:
    """Data sets to train on."""  # without it a group of one command would be that command


@data.command()
def doctor(
    path: Annotated[str, typer.Argument(help="A file, a folder, or hf://owner/name.")],
    format: Annotated[str | None, typer.Option(help="Of the data; default: what it looks like.")] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder, or tar, that rows name pictures in; may be repeated.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of files named by splits, or of the hub.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the format's reader."),
    ] = None,
    tokenizer: Annotated[str, typer.Option(help="tiny, or a folder with a model or its tokenizer.")] = "tiny",
    picture_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a picture; default: the model's, or 256.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Samples to check, spread over all; 0: all.")] = 1000,
    show: Annotated[int, typer.Option(min=0, help="Samples to show with their label masks.")] = 4,
    prompts: Annotated[
        list[Path] | None,
        typer.Option(help="A benchmark's prompts, which must not be in the data; may be repeated."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Where indexes are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell it as JSON.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write a page with pictures here.")] = None,
) -> None:
    """Check a data set: what it is, what is broken, how it is trained on, how fast it reads, what leaks.

    The exit code is 0 if nothing is wrong, 1 if something is, 2 if it cannot be read at all.
    """
    from unimm.app.opening import progress
    from unimm.data.doctor import Checks, examine
    from unimm.data.doctor_leaks import Leaks, read_prompts
    from unimm.data.doctor_page import page_of
    from unimm.data.doctor_report import healthy, report_of
    from unimm.data.readers import open_source
    from unimm.whole import write_whole

    words, own_slots = tokenizer_of(tokenizer)
    options = {
        **options_of(set or []),
        **({"cache": cache} if cache else {}),
        **({"images": images} if images else {}),
    }
    guess = _guess(path, format, split)
    source = open_source(path, guess.format, split, **options)
    leaks = Leaks(read_prompts(prompts)) if prompts else None
    checks = Checks(limit, show, picture_tokens or own_slots, leaks)
    with progress("checking") as callback:
        found = examine(source, words, checks, callback)
    report = report_of(path, guess, source, found)
    if page is not None:
        write_whole(page, page_of(report, found.shown))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        tell(report, found.shown, page)
    raise typer.Exit(0 if healthy(report) else 1)


def _guess(path: str, format: str | None, split: str | None) -> Any:
    from unimm.data.readers import Guess, paths_of
    from unimm.data.readers.stream import PREFIX

    if not path.startswith(PREFIX):
        return paths_of(Path(path), format, split)
    if format is None:
        raise ValueError("--format: expected one for a stream of the hub, got none")
    return Guess(format, "as told", ())


def options_of(given: list[str]) -> dict[str, Any]:
    """Return NAME=VALUE options; values are read as YAML: numbers, words, [lists].

    Raises:
        ValueError: one without a name and a value.
    """
    import yaml

    options = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise ValueError(f"--set: expected NAME=VALUE, got {each!r}")
        options[name] = yaml.safe_load(value)
    return options


def tokenizer_of(name: str) -> tuple[PreTrainedTokenizerFast, int]:
    """Return a model's tokenizer, and how many tokens one of its pictures has.

    Raises:
        FileNotFoundError: no such folder, or no tokenizer in it.
        ValueError: a tokenizer without the marks of an image.
    """
    from unimm.model.loading import find_folder, read_config
    from unimm.text.tokenizer import load_qwen_tokenizer

    folder = find_folder(name)
    try:
        slots = read_config(folder).settings.num_queries
    except (FileNotFoundError, ValueError):  # a tokenizer alone, or another project's model
        slots = FALLBACK_SLOTS
    return load_qwen_tokenizer(folder), slots


def tell(report: Report, shown: list[Shown], page: Path | None) -> None:
    """Print what was found, and some samples in colour."""
    from rich.console import Console
    from rich.text import Text

    from unimm.data.doctor_masks import KINDS, printable
    from unimm.data.doctor_report import faults_of, healthy, lines_of

    console = Console(highlight=False, soft_wrap=True)
    faults = faults_of(report)
    for name, text in lines_of(report):
        style = "red" if (name, text) in faults else "bold"
        console.print(Text.assemble((f"{name:<11}", style), printable(text)))
    if shown:
        console.print()
        console.print(Text("  ").join(Text(text, STYLES[name]) for name, text in KINDS.items()))
    for each in shown:
        console.print(Text(f"\n{printable(each.key)}", "bold"))
        console.print(Text.assemble(*((piece.text, STYLES[piece.kind]) for piece in each.mask)))
    if page is not None:
        console.print(f"\n{page} shows it with pictures", markup=False)
    well = healthy(report)
    console.print(Text("nothing is wrong" if well else "something is wrong", "green" if well else "red"))
