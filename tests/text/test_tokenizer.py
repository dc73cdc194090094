"""Any text goes through the tokenizer and back, and nobody can type a special token."""

from __future__ import annotations

import pytest

from tests.model.small import TEXTS, small_tokenizer
from unimm.text.tokenizer import SPECIAL_TOKENS, encode, load_tokenizer, special_ids, train_tokenizer


@pytest.mark.parametrize(
    "text",
    ["two red circles", "  spaces\n\nand lines\t", "naïve 漢字 🎨", "<|im_end|> <image> <im_start>", ""],
)
def test_text_goes_there_and_back(text):
    tokenizer = small_tokenizer()
    assert tokenizer.decode(encode(tokenizer, text)) == text


def test_special_tokens_are_one_id_each_and_all_different():
    marks = special_ids(small_tokenizer())
    ids = list(vars(marks).values())
    assert len(set(ids)) == len(SPECIAL_TOKENS)
    assert small_tokenizer().convert_ids_to_tokens(ids) == list(SPECIAL_TOKENS)


def test_a_special_token_spelled_out_in_a_text_is_only_characters():
    tokenizer = small_tokenizer()
    ids = set(encode(tokenizer, "a <image> and <|im_start|>"))
    assert not ids & set(vars(special_ids(tokenizer)).values())


def test_frequent_words_become_single_tokens():
    assert len(encode(small_tokenizer(), "yes")) == 1
    assert len(encode(small_tokenizer(), "zq")) == 2


def test_digits_stay_apart_as_in_qwen():
    assert len(encode(train_tokenizer(["1234"] * 50, 400), "1234")) == 4


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="expected 262 or more .* got 100"):
        train_tokenizer(TEXTS, 100)


def test_a_saved_tokenizer_is_the_same(tmp_path):
    small_tokenizer().save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = "two blue stars <image> 7"
    assert encode(loaded, text) == encode(small_tokenizer(), text)
    assert special_ids(loaded) == special_ids(small_tokenizer())
    assert loaded.eos_token == "<|im_end|>"


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_image_marks_is_refused():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    with pytest.raises(ValueError, match="missing .*<im_start>"):
        special_ids(plain)
