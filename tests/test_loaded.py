"""What others say while a model is saved: one warning is kept back, every other is heard."""

from __future__ import annotations

import logging

from tests.model.small import small_model

WARNING = "Setting accelerator to CPU. If you have GPU or other accelerator, we were unable to detect it."


class Heard(logging.Handler):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def test_saving_a_model_does_not_warn_of_a_missing_accelerator(tmp_path, monkeypatch):
    """As where DeepSpeed is installed, which transformers imports to see what it saves."""
    logger, heard = logging.getLogger("DeepSpeed"), Heard()
    monkeypatch.setattr(logger, "handlers", [heard])  # its own, where it was imported before, prints

    def imports_deepspeed(model, **options):
        logger.warning(WARNING)
        logger.warning("something else")
        return model

    monkeypatch.setattr("transformers.modeling_utils.unwrap_model", imports_deepspeed)
    small_model().save_pretrained(tmp_path / "model")
    assert heard.said == ["something else"]
    logger.warning(WARNING)
    assert heard.said[-1] == WARNING, "outside, it is heard"
