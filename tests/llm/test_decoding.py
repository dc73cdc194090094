"""With and without a cache, alone and in a batch, the model reads and says the same."""

from __future__ import annotations

import pytest
import torch

from unimm.llm.decoding import Memory, greedy, llm_states
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
