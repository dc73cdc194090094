"""What the commands of `unimm eval` begin with: a model, a benchmark's prompts, its judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unimm import UniMM
    from unimm.evaluation.bench.benchmark import Benchmark, Source
    from unimm.evaluation.bench.items import PromptSet


def load_model(
    name: str,
    device: str,
    revision: str | None = None,
    dtype: str = "float32",
    profile: str | None = None,
    adapter: Path | None = None,
) -> UniMM:
    """Return a model by name, ready to draw on a device."""
    from unimm.app.opening import open_model

    return open_model(name, device, dtype, profile or "standard", revision=revision, adapter=adapter)


def full_name(model: str, adapter: Path | None) -> str:
    """Return what a run calls a model."""
    return model if adapter is None else f"{model} with {adapter}"


def short_name(model: str, adapter: Path | None) -> str:
    """Return what a run's folder calls a model."""
    return Path(model).name if adapter is None else f"{Path(model).name}-{adapter.resolve().name}"


def files_of(**given: Path | None) -> dict[str, Path]:
    """Return the files that were named."""
    return {name: path for name, path in given.items() if path is not None}


def source_of(prompts: Path | None, allow_other: bool, split: str | None, limit: int | None) -> Source:
    from unimm.evaluation.bench.benchmark import Source

    return Source(prompts, allow_other, split, limit=limit)


def prompts_of(bench: str, source: Source, rewritten: Path | None) -> tuple[Benchmark, PromptSet]:
    from unimm.evaluation.bench import BENCHMARKS
    from unimm.evaluation.session import prompts_for
    from unimm.tables import pick

    benchmark = pick("--bench", bench, BENCHMARKS)
    return benchmark, prompts_for(benchmark, source, rewritten)


def asked_of(folder: Path, bench: str | None, source: Source) -> tuple[Benchmark, PromptSet]:
    """Return the benchmark and prompts of a folder: a run says both, for others the caller must."""
    from unimm.evaluation.bench import BENCHMARKS
    from unimm.evaluation.bench.kept import kept_prompts
    from unimm.evaluation.run import read_run
    from unimm.tables import pick

    run, kept = read_run(folder), kept_prompts(folder)
    if run is None or kept is None:
        if bench is None:
            raise ValueError(f"--bench: {folder} is no run of ours; say which benchmark its pictures are of")
        return prompts_of(bench, source, None)
    if bench not in (None, run["benchmark"]):
        raise ValueError(f"--bench: {folder} is a run of {run['benchmark']!r}, got {bench!r}")
    given = {"--prompts": source.path, "--split": source.split, "--limit": source.limit}
    odd = [name for name, value in given.items() if value is not None]
    if odd:
        raise ValueError(f"{odd[0]}: {folder} is a run and has its prompts; leave the option out")
    return pick("--bench", run["benchmark"], BENCHMARKS), kept


def judges_of(benchmark: Benchmark, named: dict[str, str | None], offered: dict[str, Any]) -> dict[str, Any]:
    """Return the judges that a benchmark needs, by role; what is offered is for those that take it."""
    from unimm.evaluation.judges.table import JUDGES, load_judge

    odd = [role for role, spec in named.items() if spec is not None and role not in benchmark.roles]
    if odd:
        needed = ", ".join(f"--{role}" for role in benchmark.roles)
        raise ValueError(f"--{odd[0]}: {benchmark.name} asks {needed}, got {named[odd[0]]!r}")
    specs = {role: named[role] or benchmark.defaults.get(role) for role in benchmark.roles}
    for role, spec in specs.items():
        if spec is None:
            raise ValueError(
                f"--{role}: {benchmark.name} needs one, such as {', '.join(JUDGES[benchmark.roles[role]])} "
                "(see `unimm eval judges`)"
            )
    return {role: load_judge(benchmark.roles[role], spec, offered) for role, spec in specs.items()}


def rules_of(told: Sequence[str] | None) -> dict[str, float]:
    """Return numbers by name of texts such as "threshold=0.4".

    Raises:
        ValueError: another form, or a name that stands twice.
    """
    rules: dict[str, float] = {}
    for text in told or ():
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            raise ValueError(f"--rule: expected NAME=NUMBER such as threshold=0.4, got {text!r}") from None
        if name in rules:
            raise ValueError(f"--rule: expected {name} once, got {rules[name]:g} and {value:g}")
        rules[name] = value
    return rules


def place_for(folder: Path, benchmark: Benchmark) -> Path:
    """Return where records and card go: into a run, beside nobody else's pictures."""
    from unimm.evaluation.run import read_run

    if read_run(folder) is not None:
        return folder
    return Path("outputs") / f"{benchmark.name}-{folder.resolve().name}"
