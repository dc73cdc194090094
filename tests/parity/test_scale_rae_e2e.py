"""The whole unified model against numbers recorded from Scale-RAE, at the level of token ids.

-200 in a recorded row stands for a picture: its projected latents where it is seen, the queries where it is
drawn. All but training runs in the reference profile.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.llm.decoding import greedy
from unimm.llm.splice import gather
from unimm.model import UniMM, UniMMConfig
from unimm.model.drawing.options import sampling_of
from unimm.model.drawing.strokes import velocity_under
from unimm.model.losses import cross_entropy, flow_errors
from unimm.parts import IGNORED, Batch, Run
from unimm.verify import answer_logits, log_likelihood, self_certainty
from unimm.weights import load_strictly
from unimm.weights.scale_rae import dit_sizes
from unimm.weights.scale_rae_model import HEAD, layout_of, llm_sizes, model_map

PICTURE = -200
EXACT = {"atol": 1e-5, "rtol": 1e-5}
"""Float32 on both sides."""
SEEN = {"atol": 1e-3, "rtol": 1e-3}
"""Where a last place before the rounding to bfloat16 may tip it: one tipped number moves a logit by 6e-4."""
CACHED = {"atol": 2e-3, "rtol": 1e-3}
"""Where a cached first pass meets the published one, which computes every pass anew and rounds the first."""


@dataclass(frozen=True)
class Case:
    """A model made of a file's parameters, and the rest of the file."""

    model: UniMM
    tensors: dict[str, Tensor]
    facts: dict[str, str]

    @property
    def num_latents(self) -> int:
        return self.model.config.settings.num_latents

    def fact(self, name: str):
        return json.loads(self.facts[name])


def built(recorded) -> Case:
    """Return the model that a file holds, in eval mode and the reference profile."""
    theirs, config = recorded.under("param."), json.loads(recorded.metadata["config"])
    dit = dit_sizes(theirs, HEAD)
    names = model_map(layout_of(theirs, "lightning"))
    parameters, tables = names.read(theirs)
    side, channels = dit["grid"], dit["channels"]
    codec = {"width": channels, "depth": 1, "heads": 1, "mlp_width": 8}
    settings = {
        "encoder": {"image_size": 2 * side, "patch_size": 2, **codec},
        "decoder": {**codec, "channels": channels, "width": 8, "patch_size": 2, "grid": side},
        "llm": {
            **llm_sizes(theirs, config["num_attention_heads"]),
            "rope_theta": config["rope_theta"],
            "norm_eps": config["rms_norm_eps"],
            "tied_embeddings": config.get("tie_word_embeddings", "lm_head.weight" not in theirs),
        },
        "dit": dit,
        "num_queries": side**2,
        "connector_depth": 1,
        "shift_base": int(recorded.metadata["base_dim"]),
    }
    model = UniMM(UniMMConfig(settings)).eval()
    own = {
        k: v for k, v in model.state_dict().items() if k.split(".")[0] in ("encoder", "decoder", "statistics")
    }
    load_strictly(model, {**own, **parameters}, recorded.name)
    for name, table in tables.items():
        torch.testing.assert_close(model.get_buffer(name), table, **EXACT)
    model.profile = "reference"
    return Case(model, recorded.tensors, recorded.metadata)


@pytest.fixture
def case(recorded):
    return built(recorded)


def tokens(maps: Tensor) -> Tensor:
    """Return [B N C] of [B C rows columns]."""
    return maps.flatten(2).mT


def batch_of(case: Case, rows: Tensor, drawn: bool = False, latents: Tensor | None = None) -> Batch:
    """Return id rows [B T] as a batch: their pictures are seen, or in all rows drawn."""
    ids, runs = [], []
    for number, row in enumerate(rows.tolist()):
        spread = []
        for token in row:
            if token == PICTURE:
                runs.append(Run(number, len(spread), case.num_latents))
            spread += [0] * case.num_latents if token == PICTURE else [token]
        ids.append(spread)
    ids = torch.tensor(ids)
    places = (
        {"query_runs": tuple(runs)} if drawn else {"context_runs": tuple(runs), "context_latents": latents}
    )
    return Batch(ids, torch.full_like(ids, IGNORED), torch.ones_like(ids, dtype=torch.bool), **places)


def logits_of(case: Case, row: Tensor) -> Tensor:
    """Return the logits [T V] of one id row with the recorded picture in it."""
    batch = batch_of(case, row, latents=case.tensors["und.in.latents"])
    return case.model.llm.lm_head(case.model(batch))[0]


@pytest.mark.parity("scale_rae/e2e_tiny")
def test_the_shift_of_time_is_the_published_one(case):
    assert case.model.config.settings.alpha == pytest.approx(float(case.facts["alpha"]), rel=1e-12)


@torch.no_grad()
@pytest.mark.parity("scale_rae/e2e_tiny")
def test_words_lead_to_the_start_of_a_picture_and_to_its_condition(case):
    prompt, said = case.tensors["t2i.in.prompt_ids"], case.tensors["t2i.out.token_ids"]
    start = int(case.facts["start_image_token_id"])
    embeds = case.model.embed(batch_of(case, prompt))
    length = torch.tensor([prompt.shape[1]])
    decoded = greedy(case.model.llm, embeds, length, start, len(said) + 1)
    assert decoded.tokens[0].tolist() == said.tolist()
    row = torch.cat([prompt, said[None], torch.tensor([[PICTURE]])], dim=1)
    conditions = case.model.connector(case.model.query_states(batch_of(case, row, drawn=True)))
    torch.testing.assert_close(conditions, case.tensors["t2i.mid.dit_condition"], **EXACT)


@torch.no_grad()
@pytest.mark.parity("scale_rae/e2e_tiny")
def test_the_published_noise_becomes_the_published_latents_at_any_guidance(case):
    for scale in (None, 3.0):
        sampling = sampling_of(case.model, guidance_scale=scale)
        velocity = velocity_under(case.model, case.tensors["t2i.mid.dit_condition"], sampling)
        times = sampling.times(case.model.config.settings.alpha)
        *_, drawn = sampling.sampler.states(velocity, tokens(case.tensors["t2i.in.noise_bchw"]), times, None)
        torch.testing.assert_close(drawn[0], case.tensors["t2i.out.latents"], **EXACT)


@torch.no_grad()
@pytest.mark.parity("scale_rae/e2e_tiny")
def test_a_picture_that_is_seen_enters_rounded_and_is_understood(case):
    row, latents = case.tensors["und.in.ids_with_minus200"], case.tensors["und.in.latents"]
    embeds = case.model.embed(batch_of(case, row, latents=latents))
    expected = case.tensors["und.mid.inputs_embeds_bf16"].float()
    assert torch.equal(embeds, embeds.bfloat16().float())
    # One unit in the last place where the product before the rounding came out on the other side of it.
    torch.testing.assert_close(embeds, expected, atol=1e-6, rtol=2**-7)
    assert (embeds != expected).float().mean() < 1e-3
    torch.testing.assert_close(logits_of(case, row)[-1:], case.tensors["und.out.logits_last"], **SEEN)


@torch.no_grad()
@pytest.mark.parity("scale_rae/e2e_tiny")
def test_the_standard_profile_understands_the_same_up_to_rounding(case):
    case.model.profile = "standard"
    logits = logits_of(case, case.tensors["und.in.ids_with_minus200"])[-1:]
    expected = case.tensors["und.out.logits_last"]
    assert not torch.allclose(logits, expected, **EXACT)
    torch.testing.assert_close(logits, expected, atol=2e-2, rtol=2e-2)


@torch.no_grad()
@pytest.mark.parity("scale_rae/e2e_tiny")
def test_the_prompt_is_as_sure_and_as_likely_as_published(case):
    prompt = case.tensors["verify.in.prompt_ids"]
    logits = logits_of(case, torch.cat([case.tensors["verify.in.question_ids"], prompt], dim=1))
    at_prompt = logits[-prompt.shape[1] :]  # the states of the prompt's own tokens: not shifted
    torch.testing.assert_close(at_prompt[None], case.tensors["verify.out.prompt_logits"], **SEEN)
    sure = self_certainty(at_prompt).mean()
    torch.testing.assert_close(sure, case.tensors["verify.out.prompt_confidence"], **SEEN)
    loss = -log_likelihood(at_prompt[:-1], prompt[0, 1:]).mean()
    torch.testing.assert_close(loss, case.tensors["verify.out.prompt_loss"], **SEEN)


@torch.no_grad()
@pytest.mark.parity("scale_rae/e2e_tiny")
def test_the_answer_about_a_picture_is_scored_as_published(case):
    row, expected = case.tensors["und.in.ids_with_minus200"], case.tensors["verify.out.answer_ids"]
    batch = batch_of(case, row, latents=case.tensors["und.in.latents"])
    length, end = torch.tensor([batch.input_ids.shape[1]]), int(case.facts["eos_token_id"])
    said = greedy(case.model.llm, case.model.embed(batch), length, end, len(expected))
    assert said.tokens[0].tolist() == expected.tolist()
    chosen = said.logits[0].gather(-1, expected[:, None])[:, 0]
    torch.testing.assert_close(chosen, case.tensors["verify.out.selected_logits"], **CACHED)
    sure = self_certainty(said.logits[0])
    torch.testing.assert_close(sure, case.tensors["verify.out.self_certainty_per_token"], **CACHED)
    word = [int(case.facts["yes_id"])]
    for means_yes in (True, False):
        read = case.fact("score_yes" if means_yes else "score_no")
        score = answer_logits(said.tokens, chosen[None], word if means_yes else [], [] if means_yes else word)
        logit = torch.tensor([read["yes_logit"] if means_yes else read["no_logit"]]).double()
        assert read["answer"] == ("yes" if means_yes else "no")
        torch.testing.assert_close(score, F.softplus(logit) * (1 if means_yes else -1), **CACHED)
        last = sure[(expected == word[0]).nonzero()[-1]].item()
        assert last == pytest.approx(read["yes_conf_score" if means_yes else "no_conf_score"], rel=1e-3)
        assert sure.mean().item() == pytest.approx(read["response_conf_score"], rel=1e-3)


@torch.no_grad()
@pytest.mark.parity("scale_rae/e2e_tiny")
def test_the_picture_is_as_sure_as_published_where_it_was_drawn(case):
    row = case.tensors["verify.in.image_conf_ids"]
    start = row[0].tolist().index(PICTURE)
    slots = logits_of(case, row)[start : start + case.num_latents]
    torch.testing.assert_close(
        self_certainty(slots).mean(), case.tensors["verify.out.image_confidence"], **SEEN
    )


def training_batch(case: Case) -> Batch:
    """Return the recorded rows, whose slots are there already: answer pictures are drawn, others are seen."""
    ids, labels = case.tensors["train.in.input_ids"], case.tensors["train.in.labels"]
    features, answers = case.tensors["train.in.features"], case.tensors["train.in.answer_image_mask"].bool()
    runs: dict[bool, list[Run]] = {True: [], False: []}
    for number, row in enumerate(ids == PICTURE):
        [first, *_] = slots = row.nonzero()[:, 0].tolist()
        assert slots == list(range(first, first + case.num_latents))
        is_answer = bool(labels[number, first - 1] != IGNORED)  # the published rule
        assert is_answer == bool(answers[number, 0])
        runs[is_answer].append(Run(number, first, len(slots)))
    return Batch(
        ids.masked_fill(ids == PICTURE, 0),
        labels,
        case.tensors["train.in.attention_mask"].bool(),
        context_runs=tuple(runs[False]),
        context_latents=features[~answers[:, 0]],
        query_runs=tuple(runs[True]),
        target_latents=features[answers[:, 0]],
    )


def masked_states(model: UniMM, batch: Batch) -> Tensor:
    """Return the states under the recorded mask, which may have a hole.

    It hides every token that is the padding's, and the recorded start of a picture is: our rows hide their
    right end alone, for which a causal model needs no mask.
    """
    embeds = model.embed(batch, rounds=False)
    return model.llm.model(inputs_embeds=embeds, attention_mask=batch.attention_mask).last_hidden_state


@pytest.mark.parity("scale_rae/e2e_tiny")
def test_both_terms_of_the_joint_loss_and_their_gradients_are_the_published_ones(case):
    model, batch = case.model, training_batch(case)
    drawn = [run.row for run in batch.query_runs]
    states = masked_states(model, batch)
    first = model.llm.lm_head(states)
    expected = case.tensors["train.out.logits_first_rows"]
    torch.testing.assert_close(first[:, : expected.shape[1]], expected, **EXACT)
    ce = cross_entropy(model, states, batch.labels)
    conditions = model.connector(gather(states, batch.query_runs))
    noise, t = tokens(case.tensors["train.in.noise_bchw"])[drawn], case.tensors["train.in.t"][drawn]
    flow = flow_errors(model, conditions, batch.target_latents, noise, t).mean()
    total = ce + json.loads(case.facts["config"])["vision_coef"] * flow
    for name, found in {"loss_lm": ce, "loss_diffusion": flow, "loss": total}.items():
        torch.testing.assert_close(found, case.tensors[f"train.out.{name}"], **EXACT)
    total.backward()
    gradients = {k.removeprefix("train.grad."): x for k, x in case.tensors.items() if "train.grad." in k}
    assert len(gradients) >= 5
    ours = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    theirs = published_names(case, ours)
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, **EXACT)


def published_names(case: Case, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return gradients under the published names."""
    parameters = {name.removeprefix("param."): x for name, x in case.tensors.items() if "param." in name}
    names = model_map(layout_of(parameters, "lightning"))
    found = {**names.read(parameters)[0], **ours}
    return names.write(found)
