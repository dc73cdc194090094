"""`unimm eval curve`, and the lists of benchmarks and judges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unimm.app.eval_inputs import (
    files_of,
    full_name,
    judges_of,
    load_model,
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
    Request,
    Revision,
    Rule,
    Soft,
    Split,
    Template,
    Vqa,
)
from unimm.app.evaluate import evaluation
from unimm.app.options import (
    Adapter,
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


@evaluation.command("curve")
def best_of_curve(
    bench: Bench = "world",
    out: Out = None,
    prompts: Prompts = None,
    allow_other_prompts: OtherPrompts = False,
    split: Split = None,
    limit: Limit = None,
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
    samples: Annotated[int, typer.Option(help="Pictures per prompt at the largest number.")] = 1,
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
    rule: Rule = None,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
) -> None:
    """Draw the candidates once and score best of N for every N, by each verifier."""
    from unimm.evaluation.curve import curve, draw_candidates, numbers_of, table, write_curve
    from unimm.evaluation.generate import Plan
    from unimm.evaluation.run import Sampling, model_facts
    from unimm.evaluation.session import Options, asked_for
    from unimm.request import positive

    counts = numbers_of(best_of)
    candidates = max(counts) * positive("--samples", samples)
    benchmark, found = prompts_of(bench, source_of(prompts, allow_other_prompts, split, limit), None)
    roles = {"detector": detector, "classifier": classifier, "vqa": vqa, "soft": soft, "judge": judge}
    folder = out or Path("outputs") / f"curve-{bench}-{short_name(model, adapter)}"
    files = files_of(questions=questions, request=request)
    options = Options(files, allow_other_prompts, protocol=protocol, rules=rules_of(rule))
    asked = asked_for(benchmark, found, candidates, options)  # what is wrong is told before anything is drawn
    judges = judges_of(benchmark, roles, {"device": device, "cache": folder / "replies-0.jsonl"})
    benchmark.check(judges, asked.items)
    loaded = load_model(model, device, revision, dtype, profile, adapter)
    plan = Plan(
        bench,
        found,
        benchmark.layout,
        candidates,
        Sampling(steps, guidance, interval, solver, negative),
        template,
        seed,
        batch_size,
        tuple(verifier.split(",")),
    )
    draw_candidates(loaded, plan, folder, model_facts(loaded, full_name(model, adapter), revision))
    drawn = curve(benchmark, folder, found, judges, options, counts, samples)
    print(table(drawn))
    print("\n" + ", ".join(map(str, write_curve(folder, drawn))))


@evaluation.command("judges")
def list_judges() -> None:
    """List the judges and say which were ever run with their real weights."""
    from rich.table import Table

    from unimm.evaluation.judges.table import JUDGES

    table = Table("asked for", "judge", "official weights", "run on real weights")
    for kind, entries in JUDGES.items():
        for name, entry in entries.items():
            spec = f"{name}:{entry.sources}" if entry.sources else name
            table.add_row(kind, spec, entry.official, entry.run_on_real_weights)
    _show(table)


@evaluation.command("benchmarks")
def list_benchmarks() -> None:
    """List the benchmarks of drawing and what each needs."""
    from rich.table import Table

    from unimm.evaluation.bench import BENCHMARKS

    table = Table("benchmark", "measures", "pictures per prompt", "judges", "files")
    for each in BENCHMARKS.values():
        judges = ", ".join(f"--{role}" for role in each.roles)
        files = ", ".join(f"--{name}" for name in each.files)
        table.add_row(each.name, each.about, str(each.samples), judges, files)
    _show(table)


def _show(table: Any) -> None:
    """Print a table; in a file nothing need be folded."""
    from rich.console import Console

    Console(width=None if Console().is_terminal else 140).print(table)
