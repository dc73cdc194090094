"""`unimm eval`: prompts to pictures to records to a card, each stage a command of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from unimm.app.eval_inputs import (
    asked_of,
    files_of,
    full_name,
    judges_of,
    load_model,
    place_for,
    prompts_of,
    rules_of,
    short_name,
    source_of,
)
from unimm.app.eval_options import (
    BatchSize,
    Bench,
    Classifier,
    Detector,
    JudgeName,
    Limit,
    OtherPrompts,
    Out,
    Prompts,
    Protocol,
    Questions,
    Rank,
    Request,
    Revision,
    Rule,
    Samples,
    Soft,
    Split,
    Template,
    Vqa,
    WorldSize,
)
from unimm.app.options import (
    Adapter,
    BestOf,
    Device,
    Dtype,
    Guidance,
    Interval,
    Model,
    Negative,
    ProfileName,
    Seed,
    Solver,
    Steps,
)

evaluation = typer.Typer(no_args_is_help=True, help="Measure a model.")

# Whatever stands behind such a command goes on to the function behind it, its --help too.
FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@evaluation.command("generate")
def generate_pictures(
    bench: Bench,
    out: Out = None,
    prompts: Prompts = None,
    allow_other_prompts: OtherPrompts = False,
    rewritten: Annotated[
        Path | None, typer.Option(help="Rewritten prompts to draw: lines of text, .jsonl or .json.")
    ] = None,
    split: Split = None,
    limit: Limit = None,
    samples: Samples = None,
    model: Model = "tiny",
    adapter: Adapter = None,
    revision: Revision = None,
    dtype: Dtype = "float32",
    profile: ProfileName = "standard",
    steps: Steps = 50,
    guidance: Guidance = None,
    interval: Interval = None,
    solver: Solver = None,
    negative: Negative = None,
    template: Template = "{prompt}",
    seed: Seed = 0,
    best_of: BestOf = 1,
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

    benchmark, found = prompts_of(bench, source_of(prompts, allow_other_prompts, split, limit), rewritten)
    plan = Plan(
        bench,
        found,
        benchmark.layout,
        benchmark.samples if samples is None else samples,
        Sampling(steps, guidance, interval, solver, negative, best_of, verifier, selection),
        template,
        seed,
        batch_size,
    )
    share = Share.of_environment(rank, world_size)
    folder = out or Path("outputs") / f"{bench}-{short_name(model, adapter)}"
    loaded = load_model(model, device, revision, dtype, profile, adapter)
    drawn = generate(
        loaded, plan, folder, plan.identity(model_facts(loaded, full_name(model, adapter), revision)), share
    )
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
    rule: Rule = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score a folder with holes; n is shown.")
    ] = False,
    allow_extra: Annotated[
        bool, typer.Option("--allow-extra", help="Leave out pictures of no prompt.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Pictures judged together.")] = 8,
    rank: Rank = None,
    world_size: WorldSize = None,
    device: Device = "cpu",
) -> None:
    """Judge pictures and write their card. No picture is judged twice by the same judges and rules."""
    from unimm.evaluation.card import markdown
    from unimm.evaluation.generate import Share
    from unimm.evaluation.session import Options, score_folder

    source = source_of(prompts, allow_other_prompts, split, limit)
    benchmark, found = asked_of(folder, bench, source)
    roles = {"detector": detector, "classifier": classifier, "vqa": vqa, "soft": soft, "judge": judge}
    files = files_of(questions=questions, request=request)
    options = Options(
        files,
        allow_other_prompts,
        allow_missing,
        allow_extra,
        protocol,
        samples,
        batch_size,
        rules_of(rule),
    )
    place = out or place_for(folder, benchmark)
    share = Share.of_environment(rank, world_size)
    offered = {"device": device, "cache": place / f"replies-{share.rank}.jsonl"}
    judges = partial(judges_of, benchmark, roles, offered)
    card = score_folder(benchmark, folder, place, found, judges, options, share)
    if card is None:
        print(f"share {share.rank} of {share.world_size} is judged; the last share writes the card: {place}")
        return
    print(markdown(card))
    print(f"\n{place / 'card.html'} shows it with pictures, {place / 'card.json'} keeps it.")


@evaluation.command("compare")
def compare_cards(
    before: Annotated[Path, typer.Argument(help="A scored folder.")],
    after: Annotated[Path, typer.Argument(help="Another one, of the same prompts or questions and rules.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page to write; default: compare.html there.")
    ] = None,
) -> None:
    """Tell a difference from noise, and show the pictures or answers that flipped."""
    from unimm.evaluation.compare import compare
    from unimm.evaluation.comparison import table, write_comparison

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


@evaluation.command("world", context_settings=FORWARD)
def evaluate_world(context: typer.Context) -> None:
    """Score drawings, answers and self-verification on the built-in world."""
    from unimm.evaluation import world

    world.main(context.args)


@evaluation.command("reconstruction", context_settings=FORWARD)
def evaluate_reconstruction(context: typer.Context) -> None:
    """Measure what encoding and decoding lose, before training and after it."""
    from unimm.evaluation.reconstruction import main

    main(context.args)


@evaluation.command("probe", context_settings=FORWARD)
def probe_encoders(context: typer.Context) -> None:
    """Measure what linear probes read from an encoder, before training and after it."""
    from unimm.evaluation.probe import main
    from unimm.training.codec import trained

    main(context.args, trained)


@evaluation.command("calibrate", context_settings=FORWARD)
def calibrate(context: typer.Context) -> None:
    """Measure how probable it is, at each score of a verifier, that a drawing is right."""
    from unimm.evaluation.calibration.command import main

    main(context.args)
