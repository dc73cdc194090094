"""Rows that go on from beginnings read once see what they would see if each were read from its start."""

from __future__ import annotations

import pytest
import torch

from unimm.llm.decoding import greedy, llm_states
from unimm.llm.qwen import LLMConfig, build_llm
from unimm.llm.shared import Beginnings, say

IDS = torch.randint(40, (5, 12), generator=torch.Generator().manual_seed(0))
BEGIN = (4, 2, 4)  # lengths of three beginnings
OWNERS, RESTS = torch.tensor([0, 2, 0, 1, 1]), torch.tensor([6, 8, 3, 8, 5])


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def llm(request):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        llm = build_llm(LLMConfig(40, 16, 2, 4, 2, 24, context=64, init_std=0.5)).eval()
    llm.set_attn_implementation(request.param)
    return llm


def embed(llm, ids):
    return llm.get_input_embeddings()(ids)


def begun(llm, lengths=BEGIN):
    return Beginnings(llm, embed(llm, IDS[: len(lengths), :4]), torch.tensor(lengths))


def whole(row: int) -> list[int]:
    begin = IDS[OWNERS[row], : BEGIN[OWNERS[row]]].tolist()
    return begin + IDS[row, 4 : 4 + RESTS[row]].tolist()


@torch.no_grad()
def test_rows_see_their_own_beginning_and_nobody_else_s(llm):
    branches = begun(llm).branch(OWNERS)
    states = branches.extend(embed(llm, IDS[:, 4:]), RESTS)
    assert branches.lengths.tolist() == [len(whole(row)) for row in range(5)]
    for row in range(5):
        plain = llm_states(llm, embed(llm, torch.tensor([whole(row)])))[0, -RESTS[row] :]
        torch.testing.assert_close(states[row, : RESTS[row]], plain, rtol=0, atol=1e-5)


@torch.no_grad()
def test_one_beginning_of_all_is_a_view_and_is_held_once(llm):
    beginnings = begun(llm, lengths=(4,))
    branches = beginnings.branch(torch.zeros(5, dtype=torch.long))
    shared = branches._layers[0]._begin(beginnings.layers[0][0])
    assert shared.shape[0] == 5
    assert shared.data_ptr() == beginnings.layers[0][0].data_ptr()
    branches.extend(embed(llm, IDS[:, 4:]))
    assert branches._layers[0].keys.shape[-2] == 8, "the rows' own cache holds what is their own"


@torch.no_grad()
def test_what_is_said_is_what_greedy_decoding_says(llm):
    lengths = torch.tensor([len(whole(row)) for row in range(5)])
    rows = torch.zeros(5, int(lengths.max()), dtype=torch.long)
    for row in range(5):
        rows[row, : lengths[row]] = torch.tensor(whole(row))
    free = greedy(llm, embed(llm, rows), lengths, end=-1, max_new_tokens=6)
    end = int(free.tokens[1, 2])  # a token that is said ends some rows sooner than others
    plain = greedy(llm, embed(llm, rows), lengths, end, 6, forbidden=[int(free.tokens[0, 0])])
    read = []
    branches = begun(llm).branch(OWNERS)
    extend = branches.extend
    branches.extend = lambda embeds, *more: read.append(len(embeds)) or extend(embeds, *more)
    states = branches.extend(embed(llm, IDS[:, 4:]), RESTS)
    last = states[torch.arange(5), RESTS - 1]
    said = say(branches, last, lambda ids: embed(llm, ids), end, 6, forbidden=[int(free.tokens[0, 0])])
    assert torch.equal(said.tokens, plain.tokens)
    spoken = plain.tokens.cumsum(1) * 0 + (plain.tokens == end).cumsum(1).roll(1, 1)
    spoken[:, 0] = 0
    expected = plain.logits.gather(-1, plain.tokens[..., None])[..., 0].masked_fill(spoken > 0, 0)
    torch.testing.assert_close(said.logits, expected, rtol=0, atol=1e-4)
    alive = [5, *((plain.tokens == end).cumsum(1) == 0).sum(0).tolist()]
    assert read == [count for count in alive[: len(read)] if count]
    assert read[-1] < 5, "a row that has ended is not read on"


@torch.no_grad()
def test_rows_that_all_end_at_once_are_read_no_further(llm):
    branches = begun(llm, lengths=(4,)).branch(torch.zeros(3, dtype=torch.long))
    last = branches.extend(embed(llm, IDS[:1, 4:].expand(3, -1)))[:, -1]
    end = int(llm.lm_head(last[:1]).argmax())
    branches.extend = None
    said = say(branches, last, lambda ids: embed(llm, ids), end, 6)
    assert said.tokens.tolist() == [[end]] * 3
