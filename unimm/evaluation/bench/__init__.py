"""Benchmarks of drawing: how prompts are read, pictures laid out, and judges asked."""

from unimm.evaluation.bench.benchmark import Benchmark
from unimm.evaluation.bench.dpg import DPG
from unimm.evaluation.bench.geneval import GENEVAL
from unimm.evaluation.bench.geneval2 import GENEVAL2
from unimm.evaluation.bench.wise import WISE
from unimm.evaluation.bench.world import WORLD

BENCHMARKS: dict[str, Benchmark] = {each.name: each for each in (GENEVAL, DPG, WISE, GENEVAL2, WORLD)}
"""By name."""
