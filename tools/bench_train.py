"""Time training: python -m tools.bench_train [joint] [entropy] [packing] [resume] [gpu] [key=value ...]

joint     a whole step at width 768 against the measured matmul rate, and how fast data is read
entropy   cross entropy of 4,096 tokens over 151,667 words: memory and time, chunked against plain
packing   useful tokens a second on LLaVA-like lengths, packed against padded
resume    going on at ten random positions of 10 million samples in 1,000 indexed shards
gpu       1.5B + 2.4B in bf16, and LightningDiT-XL from latents on disk; on CUDA only

Without names all of them. Keys are those of `unimm.training.bench.report.Options`, such as rounds=5,
profile=false, dtype=bf16, clock=wall, folder=DIR (keeps the shards of `resume`).
"""

import sys

import torch
from rich.console import Console

from unimm.config import build
from unimm.tables import expect_known
from unimm.training.bench.report import REPORTS, Options
from unimm.training.speed import machine


def options_of(settings: list[str]) -> Options:
    """Return the options that `key=value` say."""
    values = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        words = {"true": True, "false": False}
        values[key] = words.get(value, int(value) if value.isdigit() else value)
    return build(Options, values, "options")


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(given):
        print(__doc__)
        return 0
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    try:
        options = options_of([each for each in given if "=" in each])
        names = [each for each in given if "=" not in each] or list(REPORTS)
        for name in names:
            expect_known("measurement", name, REPORTS)
        console.print(f"{machine(options.plan)}; {torch.get_num_threads()} threads of torch")
        for name in names:
            console.rule(name, align="left")
            for line in REPORTS[name](options):
                console.print(line, markup=False, soft_wrap=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
