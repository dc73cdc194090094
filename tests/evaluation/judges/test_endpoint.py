"""The endpoint's judge against a real HTTP server in a thread."""

import base64
import io
import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from unimm.evaluation.judges import Judge, YesNoVQA
from unimm.evaluation.judges.endpoint import KEY_VARIABLE, Endpoint


def completion(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@contextmanager
def server(*answers, then=None):
    """Serve answers (status, headers, body) in turn, then one for ever; yield the URL and what was sent."""
    sent, waiting, guard = [], list(answers), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with guard:
                sent.append((self.path, dict(self.headers), body))
                status, headers, reply = waiting.pop(0) if waiting else then
            data = reply(body) if callable(reply) else reply
            data = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked has given up
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1", sent
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def picture(shade=0):
    return Image.new("RGB", (4, 3), (shade, 20, 30))


def said(text):
    return (200, {}, completion(text))


def text_of(body):
    return next(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")


def echo(body):
    return completion(f"{body['model']} on {text_of(body)}")


def test_a_picture_and_a_request_are_sent_and_the_reply_comes_back(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    with server(said(" Fine. ")) as (url, sent):
        judge = Endpoint(f"org/Judge-9B@{url}", options={"seed": 3}, max_tokens=7)
        assert isinstance(judge, Judge)
        assert isinstance(judge, YesNoVQA)
        assert judge.name == "judge-9b"
        assert judge.judge([picture(9)], ["How is it?"]) == ["Fine."]
    ((path, headers, body),) = sent
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert {key: body[key] for key in ("model", "temperature", "max_tokens", "seed")} == {
        "model": "org/Judge-9B", "temperature": 0, "max_tokens": 7, "seed": 3,
    }  # fmt: skip
    assert text_of(body) == "How is it?"
    shown = body["messages"][0]["content"][0]["image_url"]["url"].removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(shown))).getpixel((0, 0)) == (9, 20, 30)


def test_questions_are_answered_by_yes_no_or_what_was_said():
    with server(said("Yes."), said("no"), said("Maybe"), said(None)) as (url, sent):
        judge = Endpoint(f"judge@{url}", parallel=1)
        images = [picture(i) for i in range(4)]
        assert judge.ask(images, ["Is it?"] * 4) == ["yes", "no", "Maybe", ""]
    assert text_of(sent[0][2]) == "Is it? Answer yes or no."
    assert "Authorization" not in sent[0][1]


def test_replies_keep_the_order_of_the_requests_however_many_go_at_once():
    with server(then=(200, {}, echo)) as (url, sent):
        requests = [f"request {i}" for i in range(12)]
        replies = Endpoint(f"m@{url}", parallel=4).judge([picture()] * 12, requests)
    assert replies == [f"m on {request}" for request in requests]
    assert len(sent) == 12


def test_nothing_is_asked_twice(tmp_path):
    cache = tmp_path / "deep" / "replies.jsonl"
    with server(then=(200, {}, echo)) as (url, sent):
        first = Endpoint(f"m@{url}", cache=cache)
        assert first.judge([picture()] * 3, ["a", "a", "b"]) == ["m on a", "m on a", "m on b"]
        assert len(sent) == 2
        again = Endpoint(f"m@{url}", cache=cache)
        assert again.judge([picture()] * 2, ["b", "a"]) == ["m on b", "m on a"]
        assert len(sent) == 2
        again.judge([picture(1)], ["a"])  # another picture
        Endpoint(f"other@{url}", cache=cache).judge([picture()], ["a"])
        Endpoint(f"m@{url}", cache=cache, max_tokens=5).judge([picture()], ["a"])
        assert len(sent) == 5


def test_a_line_cut_off_by_a_kill_is_asked_again_and_a_damaged_file_is_refused(tmp_path):
    cache = tmp_path / "replies.jsonl"
    with server(then=(200, {}, echo)) as (url, sent):
        Endpoint(f"m@{url}", cache=cache).judge([picture()] * 2, ["a", "b"])
        whole = cache.read_bytes()
        cache.write_bytes(whole[:-5])
        assert Endpoint(f"m@{url}", cache=cache, parallel=1).judge([picture()] * 2, ["a", "b"]) == [
            "m on a",
            "m on b",
        ]
        assert len(sent) == 3
        assert sorted(cache.read_bytes().splitlines()) == sorted(whole.splitlines())
        cache.write_bytes(b"garbage\n" + whole)
        with pytest.raises(ValueError, match="replies.jsonl:1: expected a reply"):
            Endpoint(f"m@{url}", cache=cache)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_later(status):
    with server((status, {}, b"busy"), (status, {"Retry-After": "0.05"}, b"busy"), said("here")) as (
        url,
        sent,
    ):
        start = time.monotonic()
        assert Endpoint(f"m@{url}", first_wait_seconds=0.01).judge([picture()], ["?"]) == ["here"]
        assert time.monotonic() - start >= 0.06  # 0.01, then what the server asked for
    assert len(sent) == 3


def test_after_the_last_try_the_servers_words_are_shown_and_earlier_replies_are_kept(tmp_path):
    cache = tmp_path / "replies.jsonl"
    with server(said("first"), then=(503, {}, b"out of memory")) as (url, sent):
        judge = Endpoint(f"m@{url}", cache=cache, parallel=1, tries=2, first_wait_seconds=0.01)
        with pytest.raises(ConnectionError, match="after 2 tries .503 .*out of memory"):
            judge.judge([picture()] * 2, ["a", "b"])
    assert len(sent) == 3
    assert len(cache.read_text().splitlines()) == 1


def test_a_refusal_is_not_tried_again_and_does_not_show_the_key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")
    refused = pytest.raises(ValueError, match="refused the request: 401.*bad key")
    with server(then=(401, {}, b"bad key")) as (url, sent), refused as caught:
        Endpoint(f"m@{url}", parallel=1).judge([picture()], ["?"])
    assert len(sent) == 1
    assert "secret-key" not in str(caught.value)


def test_a_redirect_is_not_followed():
    with (
        server(then=(200, {}, echo)) as (other, elsewhere),
        server(then=(302, {"Location": other}, b"")) as (url, _),
        pytest.raises(ValueError, match="302"),
    ):
        Endpoint(f"m@{url}").judge([picture()], ["?"])
    assert not elsewhere


def test_a_server_that_hangs_is_given_up():
    def late(body):
        time.sleep(0.5)
        return completion("late")

    with (
        server(then=(200, {}, late)) as (url, _),
        pytest.raises(ConnectionError, match="after 2 tries .*timed out"),
    ):
        Endpoint(f"m@{url}", timeout_seconds=0.1, tries=2, first_wait_seconds=0.01).judge([picture()], ["?"])


@pytest.mark.parametrize(
    "reply", [b"<html>", b'{"choices": []}', b'{"choices": [{"message": {"content": 3}}]}']
)
def test_what_is_no_completion_is_an_error(reply):
    with server(then=(200, {}, reply)) as (url, _), pytest.raises(ValueError, match="expected"):
        Endpoint(f"m@{url}").judge([picture()], ["?"])


@pytest.mark.parametrize("source", ["http://localhost/v1", "m@localhost", "@http://localhost", "m"])
def test_a_source_that_names_no_model_or_no_url_is_refused(source):
    with pytest.raises(ValueError, match="MODEL@http"):
        Endpoint(source)
