"""Words while they come: ids turn into text that never has to be taken back."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

UNFINISHED = "\ufffd"  # what bytes of a half-received character decode to


class TextStream:
    """Turns token ids into text piece by piece; half a character waits for its other half."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = 0

    def push(self, token: int) -> str:
        """Return the text that is certain after one more token; often a word, sometimes nothing."""
        self._ids.append(token)
        return self._take(whole=False)

    def flush(self) -> str:
        """Return whatever is left, half a character included, and start afresh."""
        rest = self._take(whole=True)
        self._ids, self._shown = [], 0
        return rest

    def _take(self, whole: bool) -> str:
        text = self._tokenizer.decode(self._ids, clean_up_tokenization_spaces=False)
        if not whole and text.endswith(UNFINISHED):
            return ""
        piece, self._shown = text[self._shown :], len(text)
        return piece
