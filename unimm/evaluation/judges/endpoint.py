"""A judge behind an OpenAI-style endpoint, asked over HTTP with the standard library alone."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

from PIL.Image import Image

from unimm.evaluation.judges.asked import Asked
from unimm.evaluation.judges.loading import expect_pairs
from unimm.evaluation.judges.replies import YES_NO_REQUEST, yes_or_no

KEY_VARIABLE = "UNIMM_JUDGE_KEY"
"""Environment variable whose value is sent as the bearer token, if it is set."""

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504}  # what may be otherwise a little later
_LONGEST_WAIT = 60.0  # seconds between two tries, whatever the server asks for
_MOST_BYTES = 16 * 2**20  # of a reply


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: the key would go along to whoever is named."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Endpoint:
    """A `YesNoVQA` and `Judge` that sends each picture as a PNG data URL to `/chat/completions`.

    Every reply is kept in a file as soon as it is there, and what stands there is not asked again.
    """

    def __init__(
        self,
        source: str,
        *,
        name: str | None = None,
        cache: str | Path | None = None,
        max_tokens: int = 1024,
        options: Mapping[str, Any] | None = None,
        key_variable: str = KEY_VARIABLE,
        parallel: int = 4,
        timeout_seconds: float = 120.0,
        tries: int = 5,
        first_wait_seconds: float = 1.0,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            source: "MODEL@URL", such as "Qwen/Qwen3.5-35B-A3B@http://localhost:8000/v1".
            name: in the keys of scores; the last part of the model's name if None.
            cache: a jsonl file of replies; None keeps them in memory.
            max_tokens: longest reply of `judge`; `ask` uses it too, since a model may think first.
            options: further fields of a request, such as {"seed": 0}; temperature is 0 unless given here.
            key_variable: see `KEY_VARIABLE`.
            parallel: requests at a time.
            timeout_seconds: for one try.
            tries: of a request that the server could not serve just then.
            first_wait_seconds: before the second try; each later wait is twice the one before.

        Raises:
            ValueError: not of the form MODEL@URL, or the file of replies is damaged.
        """
        model, _, url = source.rpartition("@")
        if not model or not url.startswith(("http://", "https://")):
            raise ValueError(f"endpoint: expected MODEL@http(s)://HOST/v1, got {source!r}")
        if parallel < 1 or tries < 1:
            raise ValueError(
                f"endpoint: expected parallel and tries of 1 or more, got {parallel} and {tries}"
            )
        self.model, self.url = model, url.rstrip("/") + "/chat/completions"
        self.name = name or model.rpartition("/")[2].lower()
        self.fields = {"temperature": 0, "max_tokens": max_tokens, **(options or {})}
        self.key_variable, self.parallel = key_variable, parallel
        self.timeout_seconds, self.tries, self.first_wait_seconds = timeout_seconds, tries, first_wait_seconds
        self.asked = Asked(cache)
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._stopped = threading.Event()

    def ask(self, images: Sequence[Image], questions: Sequence[str]) -> list[str]:
        """Return "yes" or "no", or what was said instead."""
        expect_pairs(images, questions, "questions")
        requests = [YES_NO_REQUEST.format(question=question) for question in questions]
        return [yes_or_no(reply) for reply in self.judge(images, requests)]

    def judge(self, images: Sequence[Image], requests: Sequence[str]) -> list[str]:
        """Return the reply to each picture's request; "" where the model said nothing.

        Raises:
            ValueError: the server refuses the request, or what it sends is no chat completion.
            ConnectionError: no reply after all tries; those that came before are kept.
        """
        expect_pairs(images, requests, "requests")
        self._stopped.clear()
        with ThreadPoolExecutor(self.parallel) as pool:
            waiting = [pool.submit(self._reply, *pair) for pair in zip(images, requests, strict=True)]
            try:
                return [each.result() for each in waiting]
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _reply(self, image: Image, text: str) -> str:
        data = _png(image)
        seen = {
            "model": self.model, "url": self.url, "text": text, "image": hashlib.sha256(data).hexdigest(),
            **self.fields,
        }  # fmt: skip
        return self.asked.reply(seen, lambda: self._send(self._body(text, data)))

    def _body(self, text: str, data: bytes) -> bytes:
        url = "data:image/png;base64," + base64.b64encode(data).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        message = {"role": "user", "content": content}
        return json.dumps({"model": self.model, "messages": [message], **self.fields}).encode()

    def _send(self, body: bytes) -> str:
        wait, wrong = self.first_wait_seconds, "nothing was tried"
        for last in (False,) * (self.tries - 1) + (True,):
            asked_for = 0.0
            try:
                with self._opener.open(self._request(body), timeout=self.timeout_seconds) as response:
                    return _content(response.read(_MOST_BYTES), self.url)
            except urllib.error.HTTPError as error:
                wrong = f"{error.code} {error.reason}: {error.read(300).decode(errors='replace')}"
                if error.code not in _PASSING:
                    raise ValueError(f"{self.url}: refused the request: {wrong}") from None
                asked_for = _seconds(error.headers.get("Retry-After"))
            except (OSError, HTTPException) as error:  # no connection, a time-out, a reply cut short
                wrong = str(error) or type(error).__name__
            if last or self._stopped.wait(min(max(wait, asked_for), _LONGEST_WAIT)):
                break
            wait *= 2
        raise ConnectionError(f"{self.url}: no reply after {self.tries} tries ({wrong})")

    def _request(self, body: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(self.url, body, headers)


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "PNG")
    return file.getvalue()


def _content(data: bytes, url: str) -> str:
    """Return the words of a chat completion.

    Raises:
        ValueError: it is none.
    """
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{url}: expected a chat completion, got {data[:200]!r}") from None
    if content is not None and not isinstance(content, str):
        raise ValueError(f"{url}: expected text as the reply, got {type(content).__name__}")
    return (content or "").strip()


def _seconds(value: str | None) -> float:
    try:
        return float(value or 0)
    except ValueError:  # the header may hold a date, too
        return 0.0
