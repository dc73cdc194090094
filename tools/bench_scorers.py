"""Time the scorers of drawing benchmarks: python -m tools.bench_scorers [--records 100000]

Records are random and complete: a GenEval record has 20 detections, a DPG-Bench record 13 questions about
each of 4 pictures. Prints process seconds.
"""

import argparse
import random
import time
from collections.abc import Callable

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.drawing.dpg_questions import Question
from unimm.evaluation.scorers.drawing.geneval import PROMPTS

RNG = random.Random(0)
ASKED = [
    {"class": "dog", "count": 1, "color": "red"},
    {"class": "cat", "count": 1, "position": ["left of", 0]},
]


def detection() -> dict:
    box = [RNG.random() * 250, RNG.random() * 250, 250 + RNG.random() * 250, 250 + RNG.random() * 250]
    return {"class": RNG.choice(["dog", "cat", "cow"]), "box": box, "score": RNG.random(), "color": "red"}


def geneval(count: int) -> Callable[[], Scored]:
    prompts = {tag: -(-count // (4 * len(PROMPTS))) for tag in PROMPTS}
    records = [
        {
            "image": f"{tag}/{index}/{sample}",
            "metadata": {"tag": tag, "include": ASKED, "prompt": f"{tag} {index}"},
            "detections": [detection() for _ in range(20)],
        }
        for tag, each in prompts.items()
        for index in range(each)
        for sample in range(4)
    ]
    return lambda: SCORERS["geneval"].score(records, prompts=prompts)


def dpg(count: int) -> Callable[[], Scored]:
    numbers = range(1, 14)
    questions = [
        Question(str(item), number, (number - 1,) if number > 1 else (), f"entity - {number % 9}", "?")
        for item in range(count)
        for number in numbers
    ]
    records = [
        {
            "item_id": str(item),
            "answers": [{str(n): RNG.choice(["yes", "no"]) for n in numbers} for _ in range(4)],
        }
        for item in range(count)
    ]
    return lambda: SCORERS["dpg"].score(records, "fixed", questions=questions)


def geneval2(count: int) -> Callable[[], Scored]:
    records = [
        {"prompt": str(n), "atom_count": 5, "skills": ["object"] * 5, "scores": [RNG.random()] * 5}
        for n in range(count)
    ]
    return lambda: SCORERS["geneval2"].score(records, prompts=count)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    given = parser.parse_args(argv)
    for make in (geneval, dpg, geneval2):
        score = make(given.records)
        start = time.process_time()
        metrics = score().metrics()
        print(f"{make.__name__}: {time.process_time() - start:.1f} s, {len(metrics)} metrics")


if __name__ == "__main__":
    main()
