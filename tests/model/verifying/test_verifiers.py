"""The model judges as if it read everything anew for each picture, and reads hardly anything twice."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from PIL import Image

from tests.model.small import small_model, small_settings, small_tokenizer
from tests.model.verifying import plain
from unimm.model.inputs import Request, user
from unimm.model.verifying import VERIFIERS, asking, judging, on_pixels, word_ids
from unimm.parts import Image as Picture
from unimm.text.chat import ChatSettings
from unimm.text.tokenizer import encode, special_ids

PROMPTS = ["a red star", "two blue circles to the left of a green square", "a {blue} star"]
OWNERS = [0, 0, 1, 1, 2, 2]
EACH = [PROMPTS[owner] for owner in OWNERS]


@pytest.fixture(scope="module", params=["standard", "reference"])
def model(request):
    model = small_model(seed=4)
    model.profile = request.param
    return model


@pytest.fixture(scope="module")
def latents():
    return torch.randn(6, 9, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def words(monkeypatch):
    """Half of the tokens mean yes and a third of them no, so that random answers say something."""
    meant = {"yes": list(range(10, 300, 2)), "no": list(range(11, 300, 4))}
    monkeypatch.setattr(asking, "word_ids", lambda model, word: meant[word])
    return meant


def expected(name, model, latents, words, contexts=((), (), ())):
    ahead = 1 if model.profile.confidence_positions == "standard" else 0
    computed = {
        "answer_logits": partial(plain.answer_logits, yes=words["yes"], no=words["no"]),
        "p_yes": partial(plain.p_yes, yes=words["yes"], no=words["no"]),
        "prompt_confidence": partial(plain.prompt_confidence, ahead=ahead),
        "prompt_likelihood": partial(plain.prompt_likelihood, ahead=ahead),
        "image_confidence": plain.image_confidence,
    }[name]
    return [
        computed(model, z, PROMPTS[owner], context=contexts[owner])
        for z, owner in zip(latents, OWNERS, strict=True)
    ]


@pytest.mark.parametrize("batch_size", [None, 4], ids=["together", "in passes"])
@pytest.mark.parametrize("name", VERIFIERS)
def test_scores_are_those_of_the_plain_computation(model, latents, words, name, batch_size):
    found = judging(model, PROMPTS, name, batch_size)(latents, OWNERS)
    torch.testing.assert_close(
        found, torch.tensor(expected(name, model, latents, words)).double(), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", VERIFIERS)
def test_pictures_before_a_prompt_are_in_view_and_read_once(model, latents, words, name):
    one, other = (
        Picture(latents=z) for z in torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(5))
    )
    contexts = ((one,), (), (other, one))
    asked = [Request(*pair) for pair in zip(PROMPTS, contexts, strict=True)]
    read = []
    hook = model.llm.model.register_forward_hook(lambda llm, inputs, out: read.append(len(out[0])))
    found = judging(model, asked, name)(latents, OWNERS)
    hook.remove()
    assert read[:2] == [3, 6]
    plainly = torch.tensor(expected(name, model, latents, words, contexts)).double()
    torch.testing.assert_close(found, plainly, rtol=0, atol=1e-5)
    unseen = judging(model, PROMPTS, name)(latents, OWNERS)
    assert (found == unseen).tolist() != [True] * 6


def test_random_answers_say_yes_and_no_and_go_on_after_it(model, latents, words):
    """What the test above needs to be worth something."""
    scores = expected("answer_logits", model, latents, words)
    assert len(set(scores)) == 6
    assert scores != pytest.approx(
        [plain.answer_logits(model, z, p, **words, longest=1) for z, p in zip(latents, EACH, strict=True)]
    )


@pytest.mark.parametrize("name", VERIFIERS)
def test_scores_are_the_same_under_a_system_turn(latents, words, name, monkeypatch):
    bare, told = small_model(seed=4), small_model(seed=4, chat=ChatSettings(system="two red circles"))
    judge = judging(told, PROMPTS, name)
    assert not torch.allclose(judge(latents, OWNERS), judging(bare, PROMPTS, name)(latents, OWNERS))
    alone = [judge(latents[i : i + 1], OWNERS[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(judge(latents, OWNERS), torch.cat(alone), rtol=0, atol=1e-5)


def positions_read(model, name, latents, owners):
    """Positions of each pass of the LLM while candidates are judged."""
    read = []
    hook = model.llm.model.register_forward_pre_hook(
        lambda llm, args, kwargs: read.append(tuple(kwargs["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    judging(model, PROMPTS, name)(latents, owners)
    hook.remove()
    return read


@pytest.mark.parametrize("name", [name for name in VERIFIERS if name != "answer_logits"])
def test_what_candidates_share_is_read_once_and_the_rest_in_one_pass(model, latents, name):
    read = positions_read(model, name, latents, OWNERS)
    assert len(read) == 2
    shared, rest = read
    assert shared[0] == (3 if name == "image_confidence" else 1), "one beginning for each that differs"
    assert rest[0] == 6
    if name == "image_confidence":
        assert rest[1] == 9, "nothing but the latents is read for each candidate"


def test_a_plain_answer_costs_one_more_position(model, latents, monkeypatch):
    marks, script = special_ids(small_tokenizer()), [word_ids(model, "yes")[0]]
    script.append(marks.turn_end)
    read, heads = [], []

    def scripted(states):
        heads.append(tuple(states.shape))
        logits = torch.zeros(len(states), 300)
        logits[:, script[len(heads) - 1]] = 6.0
        return logits

    monkeypatch.setattr(model.llm.lm_head, "forward", scripted)
    read = positions_read(model, "answer_logits", latents, OWNERS)
    assert [shape[0] for shape in read] == [1, 6, 6]
    assert read[2] == (6, 1)
    assert heads == [(6, 16), (6, 16)], "logits are made where a token is chosen, and nowhere else"


def test_beginnings_are_read_again_only_for_other_prompts(model, latents):
    read = []
    judge = judging(model, PROMPTS, "image_confidence")
    hook = model.llm.model.register_forward_hook(lambda llm, inputs, out: read.append(1))
    judge(latents[:2], [0, 1])
    judge(latents[2:4], [0, 1])
    assert len(read) == 3
    judge(latents[4:], [2, 2])
    hook.remove()
    assert len(read) == 5


def test_logits_are_made_in_pieces_that_fit(model, latents, monkeypatch):
    whole = judging(model, PROMPTS, "image_confidence")(latents, OWNERS)
    made, head = [], model.llm.lm_head.forward
    monkeypatch.setattr(model.llm.lm_head, "forward", lambda x: made.append(len(x)) or head(x))
    monkeypatch.setattr("unimm.model.memory.CPU_BYTES", 10 * 4 * 300 * 4)
    found = judging(model, PROMPTS, "image_confidence")(latents, OWNERS)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    assert max(made) <= 10
    assert sum(made) == 6 * 9


def test_the_question_is_the_published_one_with_the_picture_before_it(model, monkeypatch):
    asked = []
    rows_of = asking.rows_of
    monkeypatch.setattr(
        asking,
        "rows_of",
        lambda m, turns, open_turn: asked.append(turns[0][0]) or rows_of(m, turns, open_turn),
    )
    judging(model, ["a {red} star"], "answer_logits")
    assert asked[0] == user(Picture(), "Does this image align with the prompt: a {red} star?")


def test_yes_is_known_however_it_is_written(model):
    tokenizer, ids = small_tokenizer(), word_ids(model, "yes")
    spelled = [encode(tokenizer, space + form) for form in ("yes", "Yes", "YES") for space in ("", " ")]
    if model.profile.pools_answer_words:
        assert set(ids) == {token for tokens in spelled for token in tokens}
    else:
        assert encode(tokenizer, "yes")[0] in ids
        assert not set(ids) & set(word_ids(model, "no"))
        assert all(tokenizer.decode([token]).strip() for token in ids)


def test_a_prompt_of_which_the_profile_leaves_nothing_is_refused(model):
    if model.profile.confidence_positions == "standard":
        assert judging(model, ["a"], "prompt_likelihood")(torch.zeros(1, 9, 8), [0]).isfinite()
        return
    with pytest.raises(ValueError, match="expected two tokens or more"):
        judging(model, ["a"], "prompt_likelihood")


def test_scorers_of_pictures_are_given_pictures(model, latents):
    seen = []

    def brightness(images, prompts):
        seen.append((images, prompts))
        return [sum(image.convert("L").tobytes()) for image in images]

    found = judging(model, PROMPTS, on_pixels(brightness))(latents, OWNERS)
    ((images, prompts),) = seen
    assert prompts == EACH
    assert all(isinstance(image, Image.Image) and image.size == (12, 12) for image in images)
    assert found.tolist() == [sum(image.convert("L").tobytes()) for image in images]


@pytest.mark.parametrize("given", [[0.5], [[0.5]] * 6, 0.5, None, ["good"] * 6, [None] * 6])
def test_what_is_not_one_score_for_each_candidate_is_refused(model, latents, given):
    with pytest.raises(ValueError, match="one score for each of 6 candidates"):
        judging(model, PROMPTS, lambda z, prompts: given)(latents, OWNERS)


def test_a_prompt_too_long_is_refused_before_anything_is_drawn(model):
    for name in VERIFIERS:
        with pytest.raises(ValueError, match="expected at most 160 tokens"):
            judging(model, ["a " * 150], name)


def test_an_answer_never_leaves_the_context():
    row = len(plain.question(torch.zeros(9, 8), "a star").ids)
    tight = small_model(llm=small_settings().llm.__class__(**{**vars(small_settings().llm), "context": row}))
    assert judging(tight, ["a star"], "answer_logits")(torch.zeros(1, 9, 8), [0]).isfinite()


@pytest.mark.parametrize("name", VERIFIERS)
def test_an_edit_is_verified_with_what_was_edited_in_view(model, latents, words, name):
    before = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(5))
    contexts = ([before[0]], [], [before[1], before[0]])
    parts = [tuple(Picture(latents=z) for z in group) for group in contexts]
    plainly = expected(name, model, latents, words, parts)
    found = model.verify(latents, EACH, name, context=[contexts[owner] for owner in OWNERS])
    assert found == pytest.approx(plainly, abs=1e-5)
    alone = model.verify(latents[:2], PROMPTS[0], name, context=before[0])
    assert alone == pytest.approx(plainly[:2], abs=1e-5)


def test_candidates_of_an_edit_score_as_they_did_when_they_were_chosen():
    model, before = small_model(seed=4), torch.zeros(9, 8)
    options = {"num_inference_steps": 2, "best_of": 3, "num_images_per_prompt": 2, "seed": 0}
    drawn = model.generate_image("a red star", before, verifier="p_yes", output_type="latent", **options)
    found = model.verify(drawn.latents, "a red star", "p_yes", context=before)
    assert found == pytest.approx(drawn.scores, abs=1e-6)


def test_pictures_before_a_verified_prompt_must_match_and_have_no_calibration(model, latents):
    with pytest.raises(ValueError, match="context: expected a list of pictures for each of 2 prompts"):
        model.verify(latents[:2], PROMPTS[:2], context=latents[:2])
    with pytest.raises(ValueError, match="probabilities: nothing is calibrated for prompts with pictures"):
        model.verify(latents[:1], "a", probabilities=True, context=latents[0])
