"""Rules for answers to questions about pictures.

`items` says what a record is; `judging` what becomes of answers that cannot be read; `parsers` are the
readers of public harnesses; the other files are benchmarks.
"""

from unimm.evaluation.scorers.answering.chartqa import CHARTQA
from unimm.evaluation.scorers.answering.choices import AI2D, MMSTAR, SEED
from unimm.evaluation.scorers.answering.documents import DOCUMENTS
from unimm.evaluation.scorers.answering.mmbench import MMBENCH
from unimm.evaluation.scorers.answering.mme import MME
from unimm.evaluation.scorers.answering.mmmu import MMMU, MMMU_PRO
from unimm.evaluation.scorers.answering.mmvp import MMVP
from unimm.evaluation.scorers.answering.pope import POPE
from unimm.evaluation.scorers.answering.scienceqa import SCIENCEQA
from unimm.evaluation.scorers.answering.short import GQA, TEXTVQA, VQAV2
from unimm.evaluation.scorers.scorer import Scorer

TABLE: dict[str, Scorer] = {
    **{
        scorer.name: scorer
        for scorer in (
            MME, TEXTVQA, VQAV2, GQA, AI2D, SEED, MMMU, MMMU_PRO, POPE, MMBENCH, SCIENCEQA,
            CHARTQA, MMVP, MMSTAR,
        )
    },
    **DOCUMENTS,
}  # fmt: skip
