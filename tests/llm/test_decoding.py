"""With and without a cache, alone and in a batch, the model reads and says the same."""

from __future__ import annotations

import pytest
import torch

from unimm.llm.decoding import Memory, Rows, decode, greedy, llm_states, sampled
from unimm.llm.qwen import LLMConfig, build_llm


@pytest.fixture(scope="module")
def llm():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build_llm(LLMConfig(40, 16, 2, 4, 2, 24, context=64, init_std=0.5)).eval()


def embed(llm, ids):
    return llm.get_input_embeddings()(ids)


@torch.no_grad()
def test_padding_at_the_right_changes_nothing(llm):
    ids = torch.randint(40, (3, 9), generator=torch.Generator().manual_seed(0))
    together = llm_states(llm, embed(llm, ids))
    for row, length in enumerate((9, 4, 6)):
        alone = llm(input_ids=ids[row : row + 1, :length], output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(together[row : row + 1, :length], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_eager_attention_is_causal_too(llm):
    ids = torch.arange(8)[None]
    expected = llm_states(llm, embed(llm, ids))
    llm.set_attn_implementation("eager")
    try:
        torch.testing.assert_close(llm_states(llm, embed(llm, ids)), expected, rtol=1e-4, atol=1e-5)
    finally:
        llm.set_attn_implementation("sdpa")


@torch.no_grad()
def test_reading_piece_by_piece_equals_reading_at_once(llm):
    embeds = embed(llm, torch.arange(12)[None])
    whole, memory = llm_states(llm, embeds), Memory(llm)
    pieces = [memory.extend(piece) for piece in embeds.split([5, 1, 4, 2], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)
    assert len(memory) == 12


@torch.no_grad()
def test_what_is_cut_is_forgotten(llm):
    memory, embeds = Memory(llm), embed(llm, torch.arange(10)[None])
    memory.extend(embeds[:, :4])
    memory.extend(embed(llm, torch.tensor([[30, 31, 32]])))
    memory.cut(4)
    rest = memory.extend(embeds[:, 4:])
    torch.testing.assert_close(rest, llm_states(llm, embeds)[:, 4:], rtol=1e-4, atol=1e-5)
    memory.cut(0)
    assert len(memory) == 0
    with pytest.raises(ValueError, match="expected 0 to 0, got 1"):
        memory.cut(1)


@torch.no_grad()
def test_greedy_is_the_argmax_of_reading_everything_again(llm):
    lengths, rows = torch.tensor([7, 3, 5]), []
    ids = torch.randint(40, (3, 7), generator=torch.Generator().manual_seed(1))
    said = greedy(llm, embed(llm, ids), lengths, end=39, max_new_tokens=6)
    for row, length in enumerate(lengths):
        words = ids[row, :length].tolist()
        for step in range(6):
            logits = llm(input_ids=torch.tensor([words])).logits[0, -1]
            torch.testing.assert_close(said.logits[row, step], logits, rtol=1e-4, atol=1e-4)
            words.append(int(logits.argmax()))
            if words[-1] == 39:
                break
        rows.append(words[length:])
    for row, words in enumerate(rows):
        assert said.tokens[row, : len(words)].tolist() == words


@torch.no_grad()
def test_a_row_that_ended_stays_ended_and_all_ended_stops(llm):
    ids = torch.randint(40, (2, 5), generator=torch.Generator().manual_seed(1))
    free = greedy(llm, embed(llm, ids), torch.tensor([5, 5]), end=-1, max_new_tokens=4).tokens
    end = int(free[0, 0])
    said = greedy(llm, embed(llm, ids[:1]), torch.tensor([5]), end=end, max_new_tokens=4)
    assert said.tokens.tolist() == [[end]]
    both = greedy(llm, embed(llm, ids), torch.tensor([5, 5]), end=end, max_new_tokens=4).tokens
    assert set(both[0].tolist()) == {end}


@torch.no_grad()
def test_a_forbidden_token_gives_way_to_the_second_best(llm):
    ids = torch.arange(5)[None]
    first = greedy(llm, embed(llm, ids), torch.tensor([5]), end=-1, max_new_tokens=1)
    other = greedy(
        llm, embed(llm, ids), torch.tensor([5]), end=-1, max_new_tokens=1, forbidden=[int(first.tokens)]
    )
    assert int(other.tokens) == int(first.logits[0, 0].topk(2).indices[1])
    assert torch.equal(other.logits, first.logits), "the logits that are handed out stay raw"


@torch.no_grad()
def test_rows_that_have_ended_are_not_read_on(llm):
    ids = torch.randint(40, (3, 7), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([7, 3, 5])
    free = greedy(llm, embed(llm, ids), lengths, end=-1, max_new_tokens=5)
    end = int(free.tokens[1, 1])  # the second row ends early
    read = []
    hook = llm.model.register_forward_hook(lambda room, args, out: read.append(len(out.last_hidden_state)))
    said = decode(Rows(llm, embed(llm, ids), lengths), [end], 5)
    hook.remove()
    assert said.logits is None
    for row in range(3):
        ends = (free.tokens[row] == end).nonzero().flatten().tolist()
        length = ends[0] if ends else 5
        assert said.tokens[row, :length].tolist() == free.tokens[row, :length].tolist()
        assert set(said.tokens[row, length:].tolist()) <= {end}
    alive = [sum(end not in free.tokens[row, :step] for row in range(3)) for step in range(1, 5)]
    assert read == [3, *[count for count in alive if count]]
    assert alive[-1] < 3, "no row ended, so nothing is tested"


@torch.no_grad()
def test_a_row_may_end_in_one_of_several_ways(llm):
    ids = torch.arange(5)[None]
    free = greedy(llm, embed(llm, ids), torch.tensor([5]), end=-1, max_new_tokens=4).tokens[0].tolist()
    said = decode(Rows(llm, embed(llm, ids), torch.tensor([5])), [free[2], free[1]], 4).tokens[0].tolist()
    assert said == free[: min(free.index(free[1]), free.index(free[2])) + 1]


@torch.no_grad()
def test_chance_follows_the_models_probabilities(llm):
    ids = torch.arange(5).expand(400, 5)
    lengths = torch.full((400,), 5)
    said = decode(Rows(llm, embed(llm, ids), lengths), [39], 1, choose=sampled(0.5, 1.0, range(400))).tokens
    logits = llm(input_ids=ids[:1]).logits[0, -1]
    chances = (logits / 0.5).softmax(-1)
    best = int(chances.argmax())
    spread = float((chances[best] * (1 - chances[best]) / 400).sqrt())
    assert abs((said == best).float().mean() - chances[best]) < 4 * spread
    kept = decode(Rows(llm, embed(llm, ids), lengths), [39], 1, choose=sampled(0.5, 0.3, range(400))).tokens
    order = chances.argsort(descending=True)
    nucleus = order[: int((chances[order].cumsum(0) < 0.3).sum()) + 1]
    assert set(kept.flatten().tolist()) <= set(nucleus.tolist())
