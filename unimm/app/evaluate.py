"""`unimm eval`: prompts to pictures to records to a card, each stage a command of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimm.app.device import device_named

if TYPE_CHECKING:
    from unimm.evaluation.bench.benchmark import Benchmark, Source
    from unimm.evaluation.bench.items import PromptSet

evaluation = typer.Typer(no_args_is_help=True, help="Measure a model.")

# Whatever stands behind such a command goes on to the function behind it, its --help too.
FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Bench = Annotated[str, typer.Option("--bench", "-b", help="geneval, dpg, wise, geneval2 or world.")]
Prompts = Annotated[
    Path | None, typer.Option(help="The benchmark's prompts: its file or folder; world needs none.")
]
OtherPrompts = Annotated[
    bool, typer.Option("--allow-other-prompts", help="Take prompts or questions with another hash.")
]
Rewritten = Annotated[
    Path | None, typer.Option(help="Rewritten prompts to draw: lines of text, .jsonl or .json.")
]
Split = Annotated[str | None, typer.Option(help="Of the world: held_in or held_out.")]
Limit = Annotated[int | None, typer.Option(help="Use so many prompts, balanced over tasks.")]
Samples = Annotated[int | None, typer.Option(help="Pictures per prompt; default: the official number.")]
Rank = Annotated[int | None, typer.Option(help="Which share is done here; default: $RANK, or 0.")]
WorldSize = Annotated[int | None, typer.Option(help="How many shares; default: $WORLD_SIZE, or 1.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Steps = Annotated[int, typer.Option(help="Steps of the sampler.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; 1 is none. Default: the model's own.")]
Interval = Annotated[
    tuple[float, float] | None, typer.Option(help="Times in which guidance acts; 0 is data, 1 noise.")
]
Solver = Annotated[str | None, typer.Option(help="The solver. Default: the model's own.")]
Negative = Annotated[str | None, typer.Option("--negative-prompt", help="What guidance leads away from.")]
Template = Annotated[str, typer.Option(help="Words around every prompt; a part of the protocol.")]
Seed = Annotated[int, typer.Option(help="Of all pictures; each prompt and picture has its own.")]
BatchSize = Annotated[int, typer.Option(help="Candidates drawn together.")]
Model = Annotated[str, typer.Option("--model", "-m", help="tiny (built in), a folder, or a hub id.")]
Revision = Annotated[str | None, typer.Option(help="Of a model on the hub.")]
Dtype = Annotated[str, typer.Option(help="Number format of the model: float32, bfloat16, ...")]
Profile = Annotated[str | None, typer.Option(help="standard, or reference for published quirks.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The folder to write.")]
Detector = Annotated[str | None, typer.Option(help="Finds things: oracle, mask2former:FOLDER.")]
Classifier = Annotated[str | None, typer.Option(help="Names colours: oracle, clip:FOLDER.")]
Vqa = Annotated[str | None, typer.Option(help="Answers yes or no: vlm:FOLDER, endpoint:MODEL@URL, ...")]
Soft = Annotated[str | None, typer.Option(help="Gives probabilities of answers: vlm:FOLDER.")]
JudgeName = Annotated[
    str | None, typer.Option("--judge", help="Gives marks: vlm:FOLDER, endpoint:MODEL@URL.")
]
Questions = Annotated[Path | None, typer.Option(help="Of DPG-Bench: dpg_bench.csv.")]
Request = Annotated[Path | None, typer.Option(help="Of WISE: the words that the judge is asked with.")]
Protocol = Annotated[str | None, typer.Option(help="The scorer's rules, such as official or fixed.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Score a folder with holes; n is shown.")]
AllowExtra = Annotated[bool, typer.Option("--allow-extra", help="Leave out pictures of no prompt.")]
JudgeBatch = Annotated[int, typer.Option(help="Pictures judged together.")]


@evaluation.command("generate")
def generate_pictures(
    bench: Bench,
    out: Out = None,
    prompts: Prompts = None,
    allow_other_prompts: OtherPrompts = False,
    rewritten: Rewritten = None,
    split: Split = None,
    limit: Limit = None,
    samples: Samples = None,
    model: Model = "tiny",
    revision: Revision = None,
    dtype: Dtype = "float32",
    profile: Profile = None,
    steps: Steps = 50,
    guidance: Guidance = None,
    guidance_interval: Interval = None,
    solver: Solver = None,
    negative_prompt: Negative = None,
    template: Template = "{prompt}",
    seed: Seed = 0,
    best_of: Annotated[int, typer.Option(help="Candidates per picture.")] = 1,
    verifier: Annotated[str | None, typer.Option(help="Who chooses; default answer_logits.")] = None,
    selection: Annotated[
        str, typer.Option(help="each: best of N for every picture; top: the best of N for a prompt.")
    ] = "each",
    batch_size: BatchSize = 16,
    rank: Rank = None,
    world_size: WorldSize = None,
    device: Device = "cpu",
) -> None:
    """Draw a benchmark's prompts in its official layout. A run that was cut off goes on where it stopped."""
    from unimm.evaluation.generate import Plan, Share, generate
    from unimm.evaluation.run import Sampling, model_facts

    benchmark, found = _prompts(bench, _source(prompts, allow_other_prompts, split, limit), rewritten)
    plan = Plan(
        bench,
        found,
        benchmark.layout,
        benchmark.samples if samples is None else samples,
        Sampling(steps, guidance, guidance_interval, solver, negative_prompt, best_of, verifier, selection),
        template,
        seed,
        batch_size,
    )
    share = Share.of_environment(rank, world_size)
    folder = out or Path("outputs") / f"{bench}-{Path(model).name}"
    loaded = load_model(model, device, revision, dtype, profile)
    drawn = generate(loaded, plan, folder, plan.identity(model_facts(loaded, model, revision)), share)
    there = len(found.items) * plan.samples
    part = "" if share.world_size == 1 else f" as share {share.rank} of {share.world_size}"
    print(f"{drawn} pictures drawn{part}, of {there} for {len(found.items)} prompts: {folder}")


@evaluation.command("score")
def score_pictures(
    folder: Annotated[Path, typer.Argument(help="A run, or another project's pictures.")],
    bench: Annotated[
        str | None, typer.Option("--bench", "-b", help="Of pictures without a run; a run says it.")
    ] = None,
    out: Out = None,
    prompts: Prompts = None,
    allow_other_prompts: OtherPrompts = False,
    split: Split = None,
    limit: Limit = None,
    samples: Samples = None,
    detector: Detector = None,
    classifier: Classifier = None,
    vqa: Vqa = None,
    soft: Soft = None,
    judge: JudgeName = None,
    questions: Questions = None,
    request: Request = None,
    protocol: Protocol = None,
    allow_missing: AllowMissing = False,
    allow_extra: AllowExtra = False,
    batch_size: JudgeBatch = 8,
    rank: Rank = None,
    world_size: WorldSize = None,
    device: Device = "cpu",
) -> None:
    """Judge pictures and write their card. No picture is judged twice by the same judges and rules."""
    from unimm.evaluation.card import markdown
    from unimm.evaluation.generate import Share
    from unimm.evaluation.session import Options, score_folder

    source = _source(prompts, allow_other_prompts, split, limit)
    benchmark, found = _asked_of(folder, bench, source)
    roles = {"detector": detector, "classifier": classifier, "vqa": vqa, "soft": soft, "judge": judge}
    files = {name: path for name, path in {"questions": questions, "request": request}.items() if path}
    options = Options(files, allow_other_prompts, allow_missing, allow_extra, protocol, samples, batch_size)
    place = out or _place_for(folder, benchmark)
    share = Share.of_environment(rank, world_size)
    judges = _judges(benchmark, roles, {"device": device, "cache": place / f"replies-{share.rank}.jsonl"})
    card = score_folder(benchmark, folder, place, found, judges, options, share)
    if card is None:
        print(f"share {share.rank} of {share.world_size} is judged; the last share writes the card: {place}")
        return
    print(markdown(card))
    print(f"\n{place / 'card.html'} shows it with pictures, {place / 'card.json'} keeps it.")


@evaluation.command("compare")
def compare_cards(
    before: Annotated[Path, typer.Argument(help="A scored folder.")],
    after: Annotated[Path, typer.Argument(help="Another one, of the same prompts and rules.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page to write; default: compare.html there.")
    ] = None,
) -> None:
    """Tell a difference from noise, and show the pictures that flipped."""
    from unimm.evaluation.compare import compare, table, write_comparison

    found = compare(before, after)
    page = write_comparison(found, out or after / "compare.html")
    print(table(found))
    print(f"\n{page} shows the pictures.")


@evaluation.command("export")
def export_pictures(
    run: Annotated[Path, typer.Argument(help="A run of ours.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    to: Annotated[str, typer.Option(help="Whose layout: geneval, dpg, wise or geneval2.")],
) -> None:
    """Copy a run's pictures into the layout that an official script reads."""
    from unimm.evaluation.export import export

    count = export(run, to, out)
    print(f"{count} pictures: {out}")


@evaluation.command("curve")
def best_of_curve(
    bench: Bench = "world",
    out: Out = None,
    prompts: Prompts = None,
    allow_other_prompts: OtherPrompts = False,
    split: Split = None,
    limit: Limit = None,
    model: Model = "tiny",
    revision: Revision = None,
    dtype: Dtype = "float32",
    profile: Profile = None,
    steps: Steps = 50,
    guidance: Guidance = None,
    template: Template = "{prompt}",
    seed: Seed = 0,
    best_of: Annotated[str, typer.Option(help="Numbers of candidates, such as 1,2,4,8.")] = "1,2,4,8",
    verifier: Annotated[str, typer.Option(help="Who chooses; several with commas.")] = "answer_logits",
    detector: Detector = None,
    classifier: Classifier = None,
    vqa: Vqa = None,
    soft: Soft = None,
    judge: JudgeName = None,
    questions: Questions = None,
    request: Request = None,
    protocol: Protocol = None,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
) -> None:
    """Draw the candidates once and score best of N for every N, by each verifier."""
    from unimm.evaluation.curve import curve, draw_candidates, numbers_of, table, write_curve
    from unimm.evaluation.generate import Plan
    from unimm.evaluation.run import Sampling, model_facts
    from unimm.evaluation.session import Options

    counts = numbers_of(best_of)
    benchmark, found = _prompts(bench, _source(prompts, allow_other_prompts, split, limit), None)
    roles = {"detector": detector, "classifier": classifier, "vqa": vqa, "soft": soft, "judge": judge}
    folder = out or Path("outputs") / f"curve-{bench}-{Path(model).name}"
    judges = _judges(benchmark, roles, {"device": device, "cache": folder / "replies-0.jsonl"})
    loaded = load_model(model, device, revision, dtype, profile)
    plan = Plan(
        bench,
        found,
        benchmark.layout,
        max(counts),
        Sampling(steps, guidance),
        template,
        seed,
        batch_size,
        tuple(verifier.split(",")),
    )
    draw_candidates(loaded, plan, folder, model_facts(loaded, model, revision))
    files = {name: path for name, path in {"questions": questions, "request": request}.items() if path}
    options = Options(files, allow_other_prompts, protocol=protocol)
    drawn = curve(benchmark, folder, found, judges, options, counts)
    print(table(drawn))
    print("\n" + ", ".join(map(str, write_curve(folder, drawn))))


@evaluation.command("judges")
def list_judges() -> None:
    """List the judges and say which were ever run with their real weights."""
    from rich.console import Console
    from rich.table import Table

    from unimm.evaluation.judges.table import JUDGES

    table = Table("asked for", "judge", "official weights", "run on real weights")
    for kind, entries in JUDGES.items():
        for name, entry in entries.items():
            spec = f"{name}:{entry.sources}" if entry.sources else name
            table.add_row(kind, spec, entry.official, entry.run_on_real_weights)
    _print(table, Console)


@evaluation.command("benchmarks")
def list_benchmarks() -> None:
    """List the benchmarks of drawing and what each needs."""
    from rich.console import Console
    from rich.table import Table

    from unimm.evaluation.bench import BENCHMARKS

    table = Table("benchmark", "measures", "pictures per prompt", "judges", "files")
    for each in BENCHMARKS.values():
        judges = ", ".join(f"--{role}" for role in each.roles)
        files = ", ".join(f"--{name}" for name in each.files)
        table.add_row(each.name, each.about, str(each.samples), judges, files)
    _print(table, Console)


@evaluation.command("calibrate", context_settings=FORWARD)
def calibrate(context: typer.Context) -> None:
    """Measure how probable it is, at each score of a verifier, that a drawing is right."""
    from unimm.evaluation.calibration.command import main

    main(context.args)


@evaluation.command("world", context_settings=FORWARD)
def evaluate_world(context: typer.Context) -> None:
    """Score drawings, answers and self-verification on the built-in world."""
    from unimm.evaluation import world

    world.main(context.args)


def load_model(name: str, device: str, revision: str | None, dtype: str, profile: str | None) -> Any:
    """Return a model by name, ready to draw on a device."""
    import torch
    from transformers.utils import logging

    from unimm import UniMM

    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise ValueError(f"--dtype: expected float32, bfloat16 or float16, got {dtype!r}")
    logging.disable_progress_bar()  # of transformers, which writes it to files too
    options = {key: value for key, value in {"revision": revision, "profile": profile}.items() if value}
    return UniMM.from_pretrained(name, dtype=kind, **options).eval().to(device_named(device))


def _source(prompts: Path | None, allow_other: bool, split: str | None, limit: int | None) -> Source:
    from unimm.evaluation.bench.benchmark import Source

    return Source(prompts, allow_other, split, limit=limit)


def _prompts(bench: str, source: Source, rewritten: Path | None) -> tuple[Benchmark, PromptSet]:
    from unimm.evaluation.bench import BENCHMARKS
    from unimm.evaluation.session import prompts_for
    from unimm.tables import pick

    benchmark = pick("--bench", bench, BENCHMARKS)
    return benchmark, prompts_for(benchmark, source, rewritten)


def _asked_of(folder: Path, bench: str | None, source: Source) -> tuple[Benchmark, PromptSet]:
    """Return the benchmark and prompts of a folder: a run says both, for others the caller must."""
    from unimm.evaluation.bench import BENCHMARKS
    from unimm.evaluation.bench.kept import kept_prompts
    from unimm.evaluation.run import read_run
    from unimm.tables import pick

    run, kept = read_run(folder), kept_prompts(folder)
    if run is None or kept is None:
        if bench is None:
            raise ValueError(f"--bench: {folder} is no run of ours; say which benchmark its pictures are of")
        return _prompts(bench, source, None)
    if bench not in (None, run["benchmark"]):
        raise ValueError(f"--bench: {folder} is a run of {run['benchmark']!r}, got {bench!r}")
    given = {"--prompts": source.path, "--split": source.split, "--limit": source.limit}
    odd = [name for name, value in given.items() if value is not None]
    if odd:
        raise ValueError(f"{odd[0]}: {folder} is a run and has its prompts; leave the option out")
    return pick("--bench", run["benchmark"], BENCHMARKS), kept


def _judges(benchmark: Benchmark, named: dict[str, str | None], offered: dict[str, Any]) -> dict[str, Any]:
    """Return the judges that a benchmark needs, by role; what is offered is for those that take it."""
    from unimm.evaluation.judges.table import JUDGES, load_judge

    odd = [role for role, spec in named.items() if spec is not None and role not in benchmark.roles]
    if odd:
        needed = ", ".join(f"--{role}" for role in benchmark.roles)
        raise ValueError(f"--{odd[0]}: {benchmark.name} asks {needed}, got {named[odd[0]]!r}")
    judges = {}
    for role, kind in benchmark.roles.items():
        spec = named[role] or benchmark.defaults.get(role)
        if spec is None:
            raise ValueError(
                f"--{role}: {benchmark.name} needs one, such as {', '.join(JUDGES[kind])} "
                "(see `unimm eval judges`)"
            )
        judges[role] = load_judge(kind, spec, offered)
    return judges


def _place_for(folder: Path, benchmark: Benchmark) -> Path:
    """Return where records and card go: into a run, beside nobody else's pictures."""
    from unimm.evaluation.run import read_run

    if read_run(folder) is not None:
        return folder
    return Path("outputs") / f"{benchmark.name}-{folder.resolve().name}"


def _print(table: Any, console: Any) -> None:
    wide = console(width=None if console().is_terminal else 140)  # in a file nothing need be folded
    wide.print(table)
