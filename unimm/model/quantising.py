"""Fewer bits for the language model alone: what draws, sees and joins keeps its precision."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from transformers.quantizers import AutoQuantizationConfig

from unimm.tables import pick

SKIPS = ("llm_int8_skip_modules", "modules_to_not_convert", "skip_modules")
"""What transformers' configs call the list of modules that are left as they are."""
BITS: dict[int, dict[str, Any]] = {
    8: {"load_in_8bit": True},
    4: {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    },
}
LANGUAGE_MODEL, HEAD = "llm", "llm.lm_head"
"""The room whose layers may have fewer bits, and its last layer, whose logits verifiers compare."""


def llm_only(quantization_config: Any, rooms: Sequence[str]) -> Any:
    """Return a quantisation of transformers that touches the language model alone.

    Args:
        quantization_config: a config of transformers such as BitsAndBytesConfig(load_in_4bit=True), or its
            values; what it already leaves out stays out.
        rooms: names of all rooms of the model.

    Raises:
        ValueError: a config that cannot be told to leave modules as they are.
    """
    if isinstance(quantization_config, Mapping):
        quantization_config = AutoQuantizationConfig.from_dict(dict(quantization_config))
    narrowed = copy.deepcopy(quantization_config)
    skips = next((name for name in SKIPS if hasattr(narrowed, name)), None)
    if skips is None:
        raise ValueError(
            f"quantization_config: expected one that can leave modules as they are (bitsandbytes, torchao, "
            f"quanto, hqq), got {type(quantization_config).__name__}; it would reach the rooms that draw"
        )
    others = [room for room in rooms if room != LANGUAGE_MODEL]
    setattr(narrowed, skips, [*(getattr(narrowed, skips) or ()), *others, HEAD])
    return narrowed


def few_bits(bits: int) -> Any:
    """Return bitsandbytes' configuration for a frozen LLM of 4 or 8 bits per weight.

    Four bits are those of QLoRA (Dettmers et al. 2023, arXiv 2305.14314): NF4, scales quantised again,
    products in bfloat16.

    Raises:
        ValueError: bitsandbytes is not installed, or another number of bits.
    """
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise ValueError(
            f"llm_bits: {bits} needs bitsandbytes, which is not installed; pip install 'unimm[quant]', or "
            "leave llm_bits out"
        )
    return BitsAndBytesConfig(**pick("llm_bits", bits, BITS))
