"""A local VLM end to end on small random models of two families saved to folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.judges.small_models import save_llava, save_qwen3_vl
from unimm.evaluation.judges import Judge, SoftVQA, YesNoVQA
from unimm.evaluation.judges.replies import yes_or_no
from unimm.evaluation.judges.vlm import LocalVLM

QUESTIONS = ["Is there a cat ?", "three ?", "Is there three cat or a cat ?"]


@pytest.fixture(scope="module", params=[save_llava, save_qwen3_vl], ids=["llava", "qwen3-vl"])
def folder(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("models") / "VLM-Small")


def pictures(count=3):
    sizes = [(24, 30), (40, 20), (32, 32)]
    rngs = [np.random.default_rng(i) for i in range(count)]
    return [
        Image.fromarray(r.integers(0, 256, (*size, 3), dtype=np.uint8))
        for r, size in zip(rngs, sizes, strict=True)
    ]


def test_replies_do_not_depend_on_the_batch(folder):
    judge = LocalVLM(folder, batch_size=1, max_new_tokens=6, dtype=torch.float32)
    assert isinstance(judge, YesNoVQA)
    assert isinstance(judge, SoftVQA)
    assert isinstance(judge, Judge)
    assert judge.name == "vlm-small"
    together = LocalVLM(folder, batch_size=3, max_new_tokens=6, dtype=torch.float32)
    alone = judge.judge(pictures(), QUESTIONS)
    assert together.judge(pictures(), QUESTIONS) == alone
    assert len(set(alone)) > 1
    words = [["yes", "Yes"], ["three", "3"], ["no"]]
    expected = judge.mass(pictures(), QUESTIONS, words)
    np.testing.assert_allclose(together.mass(pictures(), QUESTIONS, words), expected, rtol=1e-3)


def test_the_reply_is_what_the_models_logits_say_about_this_picture(folder):
    """The first token by a forward pass of the model alone."""
    judge = LocalVLM(folder, max_new_tokens=1, dtype=torch.float32)
    tokenizer = judge.processor.tokenizer
    image, question = pictures()[0], QUESTIONS[0]
    prompt = judge.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
        add_generation_prompt=True,
    )
    assert prompt.endswith("ASSISTANT")
    with torch.no_grad():
        logits = judge.model(**judge.processor(text=[prompt], images=[image], return_tensors="pt")).logits
    probabilities = logits[0, -1].softmax(-1)
    best = tokenizer.decode([int(probabilities.argmax())], skip_special_tokens=True)
    assert judge.judge([image], [question]) == [best]
    ids = tokenizer.convert_tokens_to_ids(["three", "3"])
    (mass,) = judge.mass([image], [question], [["three", "3", "three"]])
    assert mass == pytest.approx(float(probabilities[ids].sum()), rel=1e-4)
    masses = judge.mass([image] * 2, [question] * 2, [["yes"], ["no"]])
    assert sum(masses) < 1


def test_a_question_is_asked_with_the_request_for_yes_or_no(folder, monkeypatch):
    judge = LocalVLM(folder)
    seen = []

    def replies(images, texts, max_new_tokens):
        seen.extend(texts)
        return ["Yes.", "no", "Perhaps"]

    monkeypatch.setattr(judge, "_replies", replies)
    assert judge.ask(pictures(), QUESTIONS) == ["yes", "no", "Perhaps"]
    assert seen[0] == "Is there a cat ? Answer yes or no."


def test_texts_and_pictures_must_be_as_many(folder):
    judge = LocalVLM(folder)
    for call in (judge.ask, judge.judge):
        with pytest.raises(ValueError, match="got 2 for 3 pictures"):
            call(pictures(), QUESTIONS[:2])
    with pytest.raises(ValueError, match="spellings: expected one or more words"):
        judge.mass(pictures()[:1], QUESTIONS[:1], [[]])


def test_a_model_without_chat_template_is_refused(tmp_path):
    with pytest.raises(ValueError, match="chat template"):
        LocalVLM(save_llava(tmp_path / "llava", chat=None))


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("yes", "yes"),
        (" Yes.", "yes"),
        ("NO!", "no"),
        ("No, there is none.", "no"),
        ('"yes"', "yes"),
        ("No doubt there is", "No doubt there is"),
        ("yesterday", "yesterday"),
        ("I think yes ", "I think yes"),
        ("", ""),
    ],
)
def test_a_reply_is_yes_or_no_only_if_it_says_so_at_once(reply, read):
    assert yes_or_no(reply) == read
