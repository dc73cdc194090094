"""Fewer bits reach the layers of the language model, and nothing else."""

from __future__ import annotations

import pytest
import torch
from transformers.utils.quantization_config import BitsAndBytesConfig, GPTQConfig, QuantoConfig

from tests.model.small import VAE, small_model
from unimm.model import UniMM
from unimm.model.quantising import SKIPS, llm_only

CONFIGS = {
    "8 bits": BitsAndBytesConfig(load_in_8bit=True),
    "4 bits": BitsAndBytesConfig(load_in_4bit=True),
    "values": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "quanto": QuantoConfig(weights="int8"),
}


def skipped(config) -> list[str]:
    return next(getattr(config, name) for name in SKIPS if hasattr(config, name))


def touched(model, config) -> set[str]:
    """Names of the linear layers that transformers would convert."""
    from transformers.quantizers.quantizers_utils import should_convert_module

    layers = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    return {name for name in layers if should_convert_module(name, skipped(config))}


@pytest.mark.parametrize("changes", [{}, VAE], ids=["rae", "vae"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_only_layers_of_the_language_model_are_converted(config, changes):
    model = small_model(**changes)
    narrowed = llm_only(config, [name for name, _ in model.named_children()])
    found = touched(model, narrowed)
    layers = [name for name, part in model.llm.model.named_modules() if isinstance(part, torch.nn.Linear)]
    assert found == {f"llm.model.{name}" for name in layers}


def test_what_the_caller_leaves_out_stays_out_and_his_config_is_not_changed():
    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["q_proj"])
    model = small_model()
    found = touched(model, llm_only(config, [name for name, _ in model.named_children()]))
    assert found
    assert not any(name.endswith("q_proj") for name in found)
    assert config.llm_int8_skip_modules == ["q_proj"]


def test_a_config_that_would_reach_other_rooms_is_refused():
    with pytest.raises(ValueError, match="can leave modules as they are .* got GPTQConfig"):
        llm_only(GPTQConfig(bits=4), ["llm", "dit"])


def test_loading_passes_the_narrowed_config_on(tmp_path, monkeypatch):
    small_model().save_pretrained(tmp_path / "m")
    passed = {}

    def load(cls, *args, **options):
        passed.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", classmethod(load))
    with pytest.raises(KeyboardInterrupt):
        UniMM.from_pretrained(tmp_path / "m", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    left = set(passed["quantization_config"].llm_int8_skip_modules)
    assert left >= {"dit", "connector", "projector", "queries", "encoder", "decoder", "llm.lm_head"}
    assert "llm" not in left
