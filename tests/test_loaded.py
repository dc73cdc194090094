"""What others say while a model is saved: one warning is kept back, every other is heard."""

from __future__ import annotations

import logging

from tests.model.small import small_model

WARNING = "Setting accelerator to CPU. If you have GPU or other accelerator, we were unable to detect it."


def test_saving_a_model_does_not_warn_of_a_missing_accelerator(tmp_path, monkeypatch, caplog):
    """As where DeepSpeed is installed, which transformers imports to see what it saves."""
    logger = logging.getLogger("DeepSpeed")

    def imports_deepspeed(model, **options):
        logger.warning(WARNING)
        logger.warning("something else")
        return model

    monkeypatch.setattr("transformers.modeling_utils.unwrap_model", imports_deepspeed)
    monkeypatch.setattr(logger, "propagate", True)
    small_model().save_pretrained(tmp_path / "model")
    assert [record.getMessage() for record in caplog.records if record.name == "DeepSpeed"] == [
        "something else"
    ]
    logger.warning(WARNING)
    assert caplog.records[-1].getMessage() == WARNING, "outside, it is heard"
