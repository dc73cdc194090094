"""Time drawing: python -m tools.bench_draw [--model tiny] [--steps 50] [--runs 5]

Prints the median seconds of one picture, of best of 8, and of eight pictures one after the other; the last
over the second shows what drawing and checking candidates together saves.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from unimm import UniMM

PROMPT = "a yellow star and a blue square"


def median_seconds(action: Callable[[], object], runs: int) -> float:
    """Run an action once to warm up, then `runs` times."""
    action()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(argv)
    model = UniMM.from_pretrained(given.model)
    steps = {"num_inference_steps": given.steps}
    one = median_seconds(lambda: model.generate_image(PROMPT, seed=0, **steps), given.runs)
    best = median_seconds(lambda: model.generate_image(PROMPT, seed=0, best_of=8, **steps), given.runs)
    apart = median_seconds(
        lambda: [model.generate_image(PROMPT, seed=seed, **steps) for seed in range(8)], given.runs
    )
    print(f"one picture, {given.steps} steps: {one:.2f} s")
    print(f"best of 8 by answer logits:  {best:.2f} s")
    print(f"eight pictures one by one:   {apart:.2f} s ({apart / best:.1f} x best of 8)")


if __name__ == "__main__":
    main()
