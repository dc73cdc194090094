"""What is read of a request: each distinct one once, pictures before words, marks as words."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.model.small import small_model, small_tokenizer
from unimm.model.drawing import AnsweredInText, conditions_of
from unimm.model.drawing.asking import intentions_of
from unimm.model.inputs import Request, pictures_of
from unimm.parts import Image as Picture
from unimm.parts import Text, Turn
from unimm.text.chat import collate, open_image, render
from unimm.text.tokenizer import encode, special_ids

PROMPTS = ["a red star", "two blue circles to the left of a green square, all of them on grey"]
STEPS = {"num_inference_steps": 2, "output_type": "latent", "seed": 0}


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def pictures():
    noise = torch.rand(3, 20, 20, 3, generator=torch.Generator().manual_seed(0)) * 255
    return [Image.fromarray(picture.numpy()) for picture in noise.to(torch.uint8)]


@pytest.fixture
def rows_read(model):
    """Sizes [B T D] of what the LLM reads."""
    read = []
    hook = model.llm.model.register_forward_pre_hook(
        lambda room, args, kwargs: read.append(tuple(kwargs["inputs_embeds"].shape)), with_kwargs=True
    )
    yield read
    hook.remove()


def expected_conditions(model, prompt, latents=()):
    """Ask as training does: a whole conversation with a picture to draw, alone."""
    seen = [Picture(latents=z) for z in latents]
    turns = [
        Turn("user", (*seen, Text(f"Generate an image of {prompt}"))),
        Turn("assistant", (Picture(target=True),)),
    ]
    batch = collate([render(turns, small_tokenizer(), 9)], 0, torch.stack(latents) if latents else None)
    with torch.no_grad():
        return model.connector(model.query_states(batch))[0]


def test_prompts_of_any_length_are_read_as_if_alone(model):
    prompts = ["a", *PROMPTS, "three green hearts"]
    for found, prompt in zip(conditions_of(model, prompts), prompts, strict=True):
        torch.testing.assert_close(found, expected_conditions(model, prompt), rtol=1e-4, atol=1e-5)


def test_the_same_request_is_read_once_in_one_pass(model, rows_read):
    model.generate_image([PROMPTS[0], PROMPTS[1], PROMPTS[0]], num_images_per_prompt=2, **STEPS)
    assert [shape[0] for shape in rows_read] == [2]


def test_requests_of_like_length_go_together(model, rows_read):
    prompts = [PROMPTS[1], "a", PROMPTS[1] + "!", "a b"]
    found = intentions_of(model, [Request(prompt) for prompt in prompts], batch_size=2).conditions
    assert [shape[0] for shape in rows_read] == [2, 2]
    assert rows_read[0][1] < rows_read[1][1] - 5, "short ones were padded to long ones"
    torch.testing.assert_close(found, conditions_of(model, prompts), rtol=1e-4, atol=1e-5)


def test_pictures_stand_before_the_prompt_in_their_order(model, pictures):
    latents = [model.encode_image(pixels(picture))[0].detach() for picture in pictures[:2]]
    parts = tuple(Picture(latents=z) for z in latents)
    found = intentions_of(model, [Request("a star", parts)]).conditions[0]
    expected = expected_conditions(model, "a star", latents)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    other = intentions_of(model, [Request("a star", parts[::-1])]).conditions[0]
    assert not torch.allclose(found, other, atol=1e-4)


def pixels(picture):
    from unimm.latents.pixels import to_pixels

    return to_pixels([picture], 12)


def test_each_prompt_has_its_own_pictures_together_as_alone(model, pictures):
    groups = [[pictures[0]], [], [pictures[1], pictures[0]]]
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    together = model.generate_image(prompts, groups, **STEPS).latents
    for index, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        alone = model.generate_image(prompt, group or None, **{**STEPS, "seed": index}).latents[0]
        torch.testing.assert_close(together[index], alone, rtol=0, atol=1e-4)


def test_latents_and_pictures_are_the_same_context_and_the_same_one_is_encoded_once(
    model, pictures, monkeypatch
):
    latents = model.encode_image(pixels(pictures[0]))[0].detach()
    by_latents = model.generate_image("a star", images=latents, **STEPS).latents
    encoded, original = [], model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda x: encoded.append(len(x)) or original(x))
    by_picture = model.generate_image(["a star", "a heart"], [[pictures[0]]] * 2, **STEPS).latents
    torch.testing.assert_close(by_picture[:1], by_latents, rtol=0, atol=1e-4)
    assert encoded == [1]


def test_context_goes_with_a_choice_and_a_negative_prompt(model, pictures):
    options = {**STEPS, "guidance_scale": 4.0, "best_of": 3, "negative_prompt": PROMPTS[1]}
    kept = model.generate_image([PROMPTS[0]] * 2, [[pictures[0]], [pictures[1]]], **options)
    assert len(kept.scores) == 2
    same = {**STEPS, "guidance_scale": 4.0, "negative_prompt": PROMPTS[0]}
    led = model.generate_image(PROMPTS[0], pictures[0], **same).latents
    plain = model.generate_image(PROMPTS[0], pictures[0], **STEPS).latents
    torch.testing.assert_close(led, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("prompt", "images", "words"),
    [
        (PROMPTS, [[]], "images: expected a list of pictures for each of 2 prompts, .* got 1"),
        (PROMPTS, torch.zeros(2, 9, 8), "images: expected a list of pictures for each of 2 prompts"),
        (PROMPTS, [torch.zeros(9, 8)] * 2, r"such as \[\[picture\], \[\]\]"),
        ("a", [], "at least one picture, got none"),
        ("a", torch.zeros(4, 8), "latents: expected .* N=9, got 4"),
        ("a", b"no picture", "not a picture"),
        ("a", torch.zeros(20, 9, 8), "expected at most 160 tokens"),
    ],
)
def test_context_that_does_not_fit_is_refused(model, prompt, images, words):
    with pytest.raises(ValueError, match=words):
        model.generate_image(prompt, images, **STEPS)


@pytest.mark.parametrize("mark", ["<image>", "<im_start>", "<|im_end|>", "<im_end>", "<|im_start|>"])
def test_marks_that_a_user_writes_are_words(model, mark):
    ids = encode(small_tokenizer(), f"a {mark} star")
    assert not {*ids} & {*vars(special_ids(small_tokenizer())).values()}
    found = conditions_of(model, [f"a {mark} star"])[0]
    torch.testing.assert_close(found, expected_conditions(model, f"a {mark} star"), rtol=1e-4, atol=1e-5)


# Where the model decides.


def scripted(model, monkeypatch, *lines):
    """Make the model say lines, one token of each at a call, whatever is asked; return the calls' rows."""
    tokenizer, marks = small_tokenizer(), special_ids(small_tokenizer())
    known = {"DRAW": marks.image_start, "END": marks.turn_end}
    script = [known[line] if line in known else encode(tokenizer, line)[0] for line in lines]
    calls = []

    def say(states):
        logits = torch.zeros(*states.shape[:-1], 300)
        logits[..., script[len(calls)]] = 9.0
        calls.append(len(states))
        return logits

    monkeypatch.setattr(model.llm.lm_head, "forward", say)
    return calls


def test_a_model_that_draws_at_once_draws_what_it_is_forced_to(model, monkeypatch, rows_read):
    forced = model.generate_image(PROMPTS, **STEPS)
    assert forced.texts is None
    rows_read.clear()
    calls = scripted(model, monkeypatch, "DRAW")
    decided = model.generate_image(PROMPTS, image_start="model", **STEPS)
    assert torch.equal(decided.latents, forced.latents)
    assert decided.texts == ["", ""]
    assert (calls, len(rows_read)) == ([2], 1), "nothing is read or said twice"


def test_words_before_a_picture_are_read_and_told(model, monkeypatch):
    # The first call asks whether the model draws at once; then its words are heard from the beginning.
    scripted(model, monkeypatch, "sure", "sure", "sure", "DRAW")
    found = intentions_of(model, [Request("a star")], "model")
    words = encode(small_tokenizer(), "sure")[:1] * 2
    assert found.texts == [small_tokenizer().decode(words).strip()]
    turns = [Turn("user", (Text("Generate an image of a star"),))]
    row = render(turns, small_tokenizer(), 9, add_generation_prompt=True)
    row.add(words, labelled=False)
    with torch.no_grad():
        batch = collate([open_image(row, small_tokenizer(), 9)], 0)
        expected = model.connector(model.query_states(batch))
    torch.testing.assert_close(found.conditions, expected, rtol=1e-4, atol=1e-5)


def test_an_answer_in_text_is_told_with_what_to_do(model, monkeypatch):
    scripted(model, monkeypatch, "no", "no", "END")
    with pytest.raises(
        AnsweredInText, match="answered in text instead of drawing: 'a star' .*image_start"
    ) as told:
        model.generate_image("a star", image_start="model", **STEPS)
    assert list(told.value.texts) == [0]
    assert told.value.texts[0] == small_tokenizer().decode(encode(small_tokenizer(), "no")[:1]).strip()
    assert isinstance(told.value, ValueError)


def answers(model, monkeypatch, scripts):
    """Make the model follow the script of whichever prompt it reads, in whatever company it reads it.

    Each state at the end of a prompt, or of the words said after it, is known by its numbers.
    """
    tokenizer, marks = small_tokenizer(), special_ids(small_tokenizer())
    known = {"DRAW": marks.image_start, "END": marks.turn_end}
    states, tokens = [], []
    for prompt, lines in scripts.items():
        turns = [Turn("user", (Text(f"Generate an image of {prompt}"),))]
        row = render(turns, tokenizer, 9, add_generation_prompt=True)
        for line in lines:
            token = known[line] if line in known else encode(tokenizer, line)[0]
            with torch.no_grad():
                states.append(model(collate([row], 0))[0, -1])
            tokens.append(token)
            row.add([token], labelled=False)
    table = torch.stack(states)
    assert torch.pdist(table).min() > 0.01, "the states are told apart"

    def say(asked):
        distances = torch.cdist(asked, table)
        assert distances.min(-1).values.max() < 1e-3, "a state that no script has"
        return 9.0 * torch.nn.functional.one_hot(torch.tensor(tokens)[distances.argmin(-1)], 300).float()

    monkeypatch.setattr(model.llm.lm_head, "forward", say)


SCRIPTS = {
    "two blue circles to the left of a green square": ["no", "yes", "END"],
    "a red star": ["DRAW"],
    "three hearts": ["yes", "no", "DRAW"],
    "a": ["END"],
}
SAYS_NO, AT_ONCE, TALKS_FIRST, SAYS_NOTHING = SCRIPTS


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_of_some_prompts_those_that_were_answered_in_text_are_told(model, monkeypatch, batch_size):
    answers(model, monkeypatch, SCRIPTS)
    prompts = [AT_ONCE, SAYS_NO, TALKS_FIRST, SAYS_NOTHING, AT_ONCE, SAYS_NO]
    with pytest.raises(AnsweredInText) as told:
        model.generate_image(prompts, image_start="model", best_of=3, batch_size=batch_size, **STEPS)
    said = small_tokenizer().decode([encode(small_tokenizer(), word)[0] for word in ("no", "yes")])
    assert told.value.texts == {1: said, 3: "", 5: said}
    assert told.value.prompts == prompts
    assert f"{SAYS_NO!r} was answered {said!r}" in str(told.value)
    assert AT_ONCE not in str(told.value)
    assert TALKS_FIRST not in str(told.value)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_what_each_prompt_says_and_draws_together_is_what_it_does_alone(model, monkeypatch, batch_size):
    answers(model, monkeypatch, {prompt: SCRIPTS[prompt] for prompt in (AT_ONCE, TALKS_FIRST)})
    options = {**STEPS, "image_start": "model", "num_images_per_prompt": 2, "best_of": 3}
    options |= {"verifier": lambda latents, prompts: latents.mean((1, 2))}
    prompts, seeds = [TALKS_FIRST, AT_ONCE, TALKS_FIRST], [3, 7, 11]
    together = model.generate_image(prompts, **{**options, "seed": seeds}, batch_size=batch_size)
    said = small_tokenizer().decode([encode(small_tokenizer(), word)[0] for word in ("yes", "no")])
    assert together.texts == [said, "", said]
    for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        alone = model.generate_image(prompt, **{**options, "seed": seed})
        mine = slice(2 * index, 2 * index + 2)
        assert together.seeds[mine] == alone.seeds
        torch.testing.assert_close(together.latents[mine], alone.latents, rtol=0, atol=1e-4)
    forced = model.generate_image(TALKS_FIRST, **{**options, "seed": 3, "image_start": "forced"})
    assert not torch.allclose(forced.latents, together.latents[:2], atol=1e-2), "its words are read"


def test_an_unknown_start_is_refused(model):
    with pytest.raises(ValueError, match="image_start: expected one of forced, model, got 'free'"):
        model.generate_image("a", image_start="free")
    assert pictures_of(model, None, 2) == [(), ()]
