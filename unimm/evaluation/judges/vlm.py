"""A vision language model on this machine, through transformers, as a judge of three sorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from unimm.evaluation.judges.loading import batches, expect_pairs, load_strictly, name_of
from unimm.evaluation.judges.replies import YES_NO_REQUEST, yes_or_no


class LocalVLM:
    """A `YesNoVQA`, `SoftVQA` and `Judge`; greedy, one picture and one text to a conversation."""

    def __init__(
        self,
        source: str | Path,
        *,
        name: str | None = None,
        batch_size: int = 1,
        max_new_tokens: int = 512,
        dtype: str | torch.dtype = "auto",
        device: str = "cpu",
        template: Mapping[str, Any] | None = None,
    ) -> None:
        """Load a model and its processor.

        Args:
            source: a folder or hub id of a model of transformers' AutoModelForImageTextToText.
            name: in the keys of scores; the folder's if None.
            batch_size: conversations at a time; they are padded on the left.
            max_new_tokens: longest reply of `judge`; that of `ask` is 8.
            dtype: of the weights; "auto" is the one they were saved in.
            device: of the model.
            template: options of its chat template, such as {"enable_thinking": False}.

        Raises:
            ValueError: another kind of model, one without chat template, or tensors that do not fit.
            FileNotFoundError: nothing there.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.model, folder = load_strictly(
            AutoModelForImageTextToText, source, device=device, dtype=dtype, unread=[r".*position_ids"]
        )
        self.processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not getattr(self.processor, "chat_template", None):
            raise ValueError(f"{folder}: expected a processor with a chat template, found none")
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.name = name or name_of(source)
        self.batch_size, self.max_new_tokens, self.template = batch_size, max_new_tokens, dict(template or {})

    def ask(self, images: Sequence[Image], questions: Sequence[str]) -> list[str]:
        """Return "yes" or "no", or what was said instead."""
        expect_pairs(images, questions, "questions")
        requests = [YES_NO_REQUEST.format(question=question) for question in questions]
        return [yes_or_no(reply) for reply in self._replies(images, requests, 8)]

    def judge(self, images: Sequence[Image], requests: Sequence[str]) -> list[str]:
        """Return the reply to each picture's request."""
        expect_pairs(images, requests, "requests")
        return self._replies(images, requests, self.max_new_tokens)

    def mass(
        self, images: Sequence[Image], questions: Sequence[str], spellings: Sequence[Sequence[str]]
    ) -> list[float]:
        """Return the probability that the reply's first token is the first one of any spelling.

        The questions are put as they are. Spellings that begin with the same token count once (GenEval 2,
        https://github.com/facebookresearch/GenEval2).
        """
        expect_pairs(images, questions, "questions")
        expect_pairs(images, spellings, "spellings")
        found: list[float] = []
        for batch in batches(list(zip(images, questions, spellings, strict=True)), self.batch_size):
            pictures, texts, accepted = zip(*batch, strict=True)
            said = self._generate(self._inputs(pictures, texts), max_new_tokens=1, output_logits=True)
            probabilities = said.logits[0].float().softmax(-1)
            rows = zip(probabilities, accepted, strict=True)
            found += [float(row[self._first_tokens(words)].sum()) for row, words in rows]
        return found

    def _first_tokens(self, spellings: Sequence[str]) -> list[int]:
        ids = [self.processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in spellings]
        if not ids or not all(ids):
            raise ValueError(f"spellings: expected one or more words, got {list(spellings)}")
        return sorted({tokens[0] for tokens in ids})

    def _replies(self, images: Sequence[Image], texts: Sequence[str], max_new_tokens: int) -> list[str]:
        replies: list[str] = []
        for batch in batches(list(zip(images, texts, strict=True)), self.batch_size):
            inputs = self._inputs(*zip(*batch, strict=True))
            said = self._generate(inputs, max_new_tokens=max_new_tokens).sequences
            new = said[:, inputs["input_ids"].shape[1] :]
            replies += self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [reply.strip() for reply in replies]

    def _inputs(self, images: Sequence[Image], texts: Sequence[str]) -> Any:
        prompts = [self._prompt(text) for text in texts]
        bos = self.processor.tokenizer.bos_token
        return self.processor(
            text=prompts,
            images=[[image.convert("RGB")] for image in images],
            add_special_tokens=not (bos and prompts[0].startswith(bos)),  # the template may have written it
            padding=True,
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)

    def _prompt(self, text: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": text}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            **self.template,
        )

    @torch.no_grad()
    def _generate(self, inputs: Any, **options: Any) -> Any:
        return self.model.generate(
            **inputs,
            do_sample=False,
            return_dict_in_generate=True,
            pad_token_id=self.processor.tokenizer.pad_token_id,
            **options,
        )
