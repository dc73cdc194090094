"""The published tokenizer, in both forms of its files: no slot of its own, marks that nobody can type."""

from __future__ import annotations

import json

import pytest

from tests.text.qwen import MARKS, write_tokenizer
from unimm.text.tokenizer import IMAGE_SLOT, encode, load_qwen_tokenizer, special_ids

FORMS = pytest.mark.parametrize("fast", [False, True], ids=["vocab.json", "tokenizer.json"])


@FORMS
def test_the_marks_have_the_ids_of_the_files(tmp_path, fast):
    vocabulary = write_tokenizer(tmp_path, fast=fast)
    tokenizer = load_qwen_tokenizer(tmp_path)
    assert tokenizer.get_vocab() == vocabulary
    assert len(tokenizer) == len(vocabulary)
    marks = special_ids(tokenizer)
    assert (marks.pad, marks.turn_start, marks.turn_end, marks.image_start, marks.image_end) == tuple(
        vocabulary[mark] for mark in MARKS
    )


@FORMS
def test_a_slot_is_held_by_padding_and_typed_characters_stay_characters(tmp_path, fast):
    vocabulary = write_tokenizer(tmp_path, fast=fast)
    tokenizer = load_qwen_tokenizer(tmp_path)
    assert IMAGE_SLOT not in vocabulary
    assert special_ids(tokenizer).image_slot == vocabulary["<|endoftext|>"]
    typed = " ".join((*MARKS, IMAGE_SLOT))
    ids = encode(tokenizer, typed)
    assert not set(ids) & {vocabulary[mark] for mark in MARKS}
    assert tokenizer.decode(ids) == typed


@FORMS
def test_marks_that_the_files_do_not_call_special_cannot_be_typed_either(tmp_path, fast):
    vocabulary = write_tokenizer(tmp_path, fast=fast, special=False)
    tokenizer = load_qwen_tokenizer(tmp_path)
    assert tokenizer.get_vocab() == vocabulary
    assert not set(encode(tokenizer, "<im_start><im_end>")) & {vocabulary[mark] for mark in MARKS}


@FORMS
def test_it_is_saved_with_the_same_vocabulary(tmp_path, fast):
    vocabulary = write_tokenizer(tmp_path / "theirs", fast=fast, special=False)
    load_qwen_tokenizer(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    again = load_qwen_tokenizer(tmp_path / "ours")
    assert again.get_vocab() == vocabulary
    assert not set(encode(again, "<im_start>")) & {vocabulary[mark] for mark in MARKS}


def test_a_tokenizer_without_image_marks_is_refused(tmp_path):
    write_tokenizer(tmp_path, marks=MARKS[:3])
    with pytest.raises(ValueError, match="missing <im_start>, <im_end>"):
        load_qwen_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({}))
    with pytest.raises(FileNotFoundError, match="expected tokenizer.json, or vocab.json and merges.txt"):
        load_qwen_tokenizer(tmp_path)
