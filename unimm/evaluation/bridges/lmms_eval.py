"""A chat model for lmms-eval 0.7, which finds it by the entry point `lmms_eval.models`.

    python -m lmms_eval --model unimm --model_args pretrained=tiny --tasks ... --batch_size 16

`mode=draw` is for tasks that want pictures: the reply is then the JSON string {"text": ..., "images": [path]}
which they read. https://github.com/EvolvingLMMs-Lab/lmms-eval
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unimm.evaluation.bridges.speaker import Request, Speaker

MODEL_ID = "unimm"
CLASS = "UniMMChat"  # made when it is asked for, as its base is lmms-eval's

_READ = {"max_new_tokens", "until", "temperature", "do_sample", "num_beams"}
_log = logging.getLogger(__name__)


class Bridge:
    """The part of lmms-eval's model that needs no lmms-eval."""

    is_simple = False

    def __init__(
        self,
        pretrained: str = "tiny",
        *,
        mode: str = "answer",
        images: str = "unimm-images",
        seed: int = 0,
        max_new_tokens: int = 128,
        batch_size: int | str | None = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        dtype: str = "float32",
        profile: str = "standard",
        **drawing: Any,
    ) -> None:
        """Load a model; the arguments are those of `--model_args`.

        Args:
            pretrained: name, folder or hub id.
            mode: "answer" (words), "draw" (a picture of the words) or "chat" (the model decides).
            images: folder of the pictures drawn.
            seed: with task and document it gives each picture its own.
            max_new_tokens: longest reply, where the task does not say.
            batch_size: requests that go through the model together.
            max_batch_size: unused; the harness passes it.
            device: None is this rank's GPU, or the CPU.
            dtype: of the weights.
            profile: of published checkpoints, see `unimm.model.profile`.
            drawing: options of `UniMM.generate_image`, such as num_inference_steps, guidance_scale, best_of.

        Raises:
            ValueError: an unknown mode, or a batch size that is no number.
        """
        from unimm.model import UniMM

        super().__init__()
        self._rank = int(os.environ.get("RANK", 0))
        self._world_size = int(os.environ.get("WORLD_SIZE", 1))
        if not str(batch_size or 1).isdigit():
            raise ValueError(f"batch_size: expected a number, got {batch_size!r}")
        self.device = torch.device(device or _own_device())
        model = UniMM.from_pretrained(pretrained, dtype=getattr(torch, dtype), profile=profile)
        self.max_new_tokens = max_new_tokens
        self.speaker = Speaker(
            model.eval().to(self.device), mode, Path(images), seed, int(batch_size or 1), drawing
        )
        self._unread: set[str] = set()

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the reply to each of the harness's requests."""
        asked = [self._request(*request.args) for request in requests]
        replies = self.speaker.replies(asked)
        for request, reply in zip(requests, replies, strict=True):
            self.cache_hook.add_partial("generate_until", (request.args[0], request.args[2]), reply)
        return replies

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refuse: lmms-eval asks only its simple models for likelihoods."""
        raise NotImplementedError("unimm is a chat model of lmms-eval, and answers generate_until alone")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refuse: lmms-eval asks only its simple models for several rounds."""
        raise NotImplementedError("unimm is a chat model of lmms-eval, and answers generate_until alone")

    def _request(
        self, context: str, to_messages: Any, options: Mapping[str, Any], doc_id: int, task: str, split: str
    ) -> Request:
        messages = to_messages(self.task_dict[task][split][doc_id])
        self._check(task, options)
        until = options.get("until") or ()
        return Request(
            [_message(task, message) for message in messages],
            f"{task}-{split}-{doc_id}",
            int(options.get("max_new_tokens", self.max_new_tokens)),
            (until,) if isinstance(until, str) else tuple(until),
        )

    def _check(self, task: str, options: Mapping[str, Any]) -> None:
        """Refuse what greedy decoding cannot do; name, once, what is not read."""
        sampled = options.get("do_sample", True) and (options.get("temperature") or 0) > 0
        if sampled or (options.get("num_beams") or 1) > 1:
            raise ValueError(
                f"{task}: unimm answers greedily, the task asks for {dict(options)}; "
                "run it with --gen_kwargs temperature=0,do_sample=False,num_beams=1"
            )
        unread = set(options) - _READ - self._unread
        if unread:
            self._unread |= unread
            _log.warning("generation options that unimm has no use for: %s", ", ".join(sorted(unread)))


def manifest() -> Any:
    """Return what the entry point yields: the model's name in lmms-eval and where its class is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(MODEL_ID, chat_class_path=f"{__name__}.{CLASS}")


def __getattr__(name: str) -> Any:
    if name != CLASS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lmms_eval.api.model import lmms

    made = type(CLASS, (Bridge, lmms), {"__module__": __name__, "__doc__": Bridge.__doc__})
    globals()[CLASS] = made
    return made


def _message(task: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of lmms-eval in our format."""
    return {"role": message["role"], "content": [_part(task, part) for part in message["content"]]}


def _part(task: str, part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    if part["type"] == "image":
        return {"type": "image", "image": part["url"]}
    raise ValueError(f"{task}: unimm sees text and pictures, the task shows {part['type']}")


def _own_device() -> str:
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
