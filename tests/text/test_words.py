"""Prompts as ids: marks and padding where each tower expects them, any text readable, files read back."""

from __future__ import annotations

import builtins

import pytest
import torch

from tests.text.small_sd3 import PROMPTS, SENTENCES, clip_words, t5_words
from unimm.text.words import CLIPWords, load_clip_words, load_t5_words, train_clip_words

MARKED = "<|endoftext|> </s> <pad> 火 ünïcode"


def test_clip_rows_are_start_tokens_end_padding():
    words = clip_words()
    ids = words.rows(["a red circle", ""], 9).ids
    start, end = words.size - 2, words.size - 1
    assert ids[1].tolist() == [start, end] + 7 * [words.pad]
    row = ids[0].tolist()
    assert row[0] == start
    stop = row.index(end)
    assert "".join(words.tokenizer.convert_ids_to_tokens(row[1:stop])) == "a</w>red</w>circle</w>"
    assert set(row[stop + 1 :]) <= {words.pad}


def test_a_clip_tokenizer_may_pad_with_another_token():
    words = CLIPWords(type(clip_words().tokenizer)(vocab=clip_words().tokenizer.get_vocab(), pad_token="!"))
    exclamation = words.tokenizer.convert_tokens_to_ids("!")
    assert words.rows([""], 5).ids[0].tolist() == [words.size - 2, words.size - 1, *3 * [exclamation]]


def test_t5_rows_are_tokens_end_padding():
    ids = t5_words().rows(["two blue stars", ""], 20).ids
    assert ids[1].tolist() == [1] + 19 * [0]
    stop = ids[0].tolist().index(1)
    assert t5_words().processor.decode(ids[0, :stop].tolist()) == "two blue stars"
    assert (ids[0, stop + 1 :] == 0).all()


def test_marks_in_a_prompt_end_nothing():
    words = clip_words()
    ids = words.rows([MARKED], 60).ids[0].tolist()
    assert ids.count(words.size - 1) == ids[ids.index(words.size - 1) :].count(words.size - 1)
    assert ids.index(words.size - 1) > 20  # the mark was read as characters
    assert t5_words().rows([MARKED], 60).ids[0].tolist().count(1) == 1


def test_every_character_has_an_id_that_gives_it_back():
    words = clip_words()
    pieces = words._encode(["ünïcode 火"])[0]
    assert words.tokenizer.decode(pieces) == "ünïcode 火"


def test_a_prompt_too_long_keeps_its_beginning_and_its_end_mark():
    words = clip_words()
    whole = words.rows(["two blue stars two blue stars"], 40)
    short = words.rows(["two blue stars two blue stars"], 5)
    assert whole.cut == (0,)
    used = whole.ids[0].tolist().index(words.size - 1) - 1
    assert short.cut == (used - 3,)
    assert short.ids[0].tolist() == [*whole.ids[0, :4].tolist(), words.size - 1]
    assert t5_words().rows(["two blue stars"], 3).ids[0, -1] == 1


@pytest.mark.parametrize(("words", "load"), [(clip_words, load_clip_words), (t5_words, load_t5_words)])
def test_saved_words_are_read_back(words, load, tmp_path):
    words().save(tmp_path / "words")
    found = load(tmp_path / "words")
    prompts = [*PROMPTS, MARKED]
    assert torch.equal(found.rows(prompts, 12).ids, words().rows(prompts, 12).ids)
    assert found.size == words().size


def test_transformers_reads_the_same_pieces_from_either_file(tmp_path):
    """Two ways: sentencepiece on spiece.model, and the tokenizer.json that transformers makes of it."""
    from transformers import T5Tokenizer

    t5_words().save(tmp_path / "model")
    T5Tokenizer.from_pretrained(tmp_path / "model", extra_ids=0).save_pretrained(tmp_path / "json")
    (tmp_path / "json" / "spiece.model").unlink(missing_ok=True)
    prompts = ["a red circle", "two  blue stars ", "", "three hearts on a sand background"]
    found = load_t5_words(tmp_path / "json")
    assert torch.equal(found.rows(prompts, 30).ids, t5_words().rows(prompts, 30).ids)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected tokenizer.json, or vocab.json and merges.txt"):
        load_clip_words(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected tokenizer.json or spiece.model"):
        load_t5_words(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        load_t5_words(tmp_path / "none")
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="spiece.model: expected a sentencepiece model"):
        load_t5_words(tmp_path)


def test_without_sentencepiece_the_error_says_what_to_install(tmp_path, monkeypatch):
    t5_words().save(tmp_path)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "sentencepiece":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'unimm\[text\]'"):
        load_t5_words(tmp_path)


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size: expected 514 or more"):
        train_clip_words(SENTENCES, 513)
