"""What best-of-N multiplies in our order and in the naive one, stage by stage, by closed form.

Drawing is the same in both: what batches and caches of a machine make of it is for the clock to tell.
"""

from __future__ import annotations

from unimm.llm.qwen import LLMConfig
from unimm.model import ModelSettings
from unimm.training.count import total
from unimm.training.inference.stopwatch import STAGES
from unimm.training.inventory import count_body, count_decoder, count_encoder
from unimm.training.verification import GENERATE, OPENING, PROMPT, reading_macs, verifying_macs, works

Macs = dict[str, int]
"""Multiply-accumulates by stage, a row of STAGES."""


def counted_choice(settings: ModelSettings, n: int = 8, steps: int = 50) -> tuple[Macs, Macs]:
    """Return the cost of the best of n pictures of one prompt by answer logits, in our and the naive order.

    Args:
        settings: the model, whose latents are a RAE's; its templates' tokens are the published ones'.
        n: candidates.
        steps: of the sampler, without guidance.
    """
    llm, tokens, width = settings.llm, settings.num_queries, settings.llm.width
    prefill = reading_macs(llm, OPENING + GENERATE + PROMPT + tokens)
    prefill += tokens * (settings.connector_depth - 1) * width * width
    prefill += tokens * width * settings.dit.condition_width
    draw = steps * total(count_body(settings.body, settings.dit)).macs
    projector = tokens * width * (settings.encoder.width + (settings.projector_depth - 1) * width)
    work = works(tokens)["answer_logits"]
    encoder = total(count_encoder(settings.encoder)).macs
    decoder = total(count_decoder(settings.decoder)).macs
    judge, again = verifying_macs(llm, work, n, projector), _judging_again(llm, work.shared + work.own)
    ours = (prefill, n * draw, n * judge, decoder, 0)
    naive = (n * prefill, n * draw, n * (again + projector), n * decoder, n * encoder)
    return dict(zip(STAGES, ours, strict=True)), dict(zip(STAGES, naive, strict=True))


def _judging_again(llm: LLMConfig, positions: int) -> int:
    """Return the cost of an answer of one word and its end, all read anew for each of the two."""
    read = sum(reading_macs(llm, positions + said) for said in range(2))
    return read + 2 * llm.width * llm.vocab_size
