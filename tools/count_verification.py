"""Count what judging candidates costs beside drawing them: python -m tools.count_verification [--best-of 8]

For the published sizes, in multiply-accumulates, without guidance; every verifier of the model itself.
"""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from unimm.request import positive
from unimm.training.verification import SYSTEMS, compared, drawing_macs


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="of the sampler (50)")
    parser.add_argument("--best-of", type=int, default=8, help="candidates per prompt (8)")
    given = parser.parse_args(argv)
    try:
        steps, candidates = positive("--steps", given.steps), positive("--best-of", given.best_of)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    shares = {name: compared(name, candidates, steps) for name in SYSTEMS}
    shown = Table("", *SYSTEMS, title=f"Best of {candidates} at {steps} steps", title_justify="left")
    cost = [f"{drawing_macs(system, steps) / 1e12:.1f} TMAC" for system in SYSTEMS.values()]
    shown.add_row("drawing one candidate", *cost)
    for verifier in next(iter(shares.values())):
        shown.add_row(verifier, *(f"{100 * share[verifier]:.2f} %" for share in shares.values()))
    Console(width=None if sys.stdout.isatty() else 100).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
