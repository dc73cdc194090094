"""Best of n in the naive order: the same rooms and kernels, nothing shared, nothing remembered.

Prompt by prompt and candidate by candidate the prompt is read, a picture drawn and decoded; to be judged it
is encoded again and read with its question from the start, once more for every word of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm.llm.decoding import llm_states
from unimm.model.inputs import batch_of, fill, image_list, rows_of, tokenizer_of, user
from unimm.model.verifying import word_ids
from unimm.model.verifying.asking import MAX_ANSWER_TOKENS
from unimm.text.tokenizer import special_ids
from unimm.verify import answer_logits

if TYPE_CHECKING:
    from unimm.model import UniMM


def best_naively(model: UniMM, prompts: Sequence[str], n: int, **options: Any) -> list[Any]:
    """Return the best of n pictures for each prompt; options, seed among them, as in `generate_image`."""
    first = options.pop("seed", 0)
    found = []
    for place, prompt in enumerate(prompts):
        drawn = [
            model.generate_image(prompt, seed=first + place * n + index, **options).images[0]
            for index in range(n)
        ]
        scores = [judge_naively(model, picture, prompt) for picture in drawn]
        found.append(drawn[max(range(n), key=scores.__getitem__)])
    return found


@torch.no_grad()
def judge_naively(model: UniMM, picture: Any, prompt: str) -> float:
    """Return the answer logits of one picture, a PIL picture or latents [N C]."""
    (part,), marks = image_list(picture), special_ids(tokenizer_of(model))
    question = fill(model.config.settings.chat.verifier_question, prompt)
    batch = batch_of(model, rows_of(model, [[user(part, question)]], open_turn=True))
    embeds, said, logits = model.embed(batch), [], []
    for _ in range(MAX_ANSWER_TOKENS):
        last = model.llm.lm_head(llm_states(model.llm, embeds)[:, -1])[0]
        open_to = last.clone()
        open_to[[marks.image_start, marks.image_slot, marks.image_end]] = -torch.inf
        token = open_to.argmax()
        said.append(token)
        logits.append(last[token])
        if token == marks.turn_end:
            break
        embeds = torch.cat([embeds, model.llm.get_input_embeddings()(token[None, None])], dim=1)
    return float(_score(model, torch.stack(said), torch.stack(logits)))


def _score(model: UniMM, tokens: Tensor, logits: Tensor) -> Tensor:
    return answer_logits(tokens[None], logits[None], word_ids(model, "yes"), word_ids(model, "no"))[0]
