"""Causal attention in training: rows that hold several samples, and short rows on a CPU, where the fused
kernel's backward pass is the slowest part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from unimm.parts import Run

SHORT = 128
"""Positions up to which two matrix products and a softmax train faster than the fused kernel: faster at 57 in
bfloat16."""

OURS = "unimm_short"
"""The name under which transformers knows `attend_rows`."""


@dataclass(frozen=True)
class Segments:
    """Samples in rows of T positions, and the padding between them, in reading order: they fill all rows."""

    lengths: tuple[int, ...]
    """Of each; they sum to B * T."""
    is_sample: tuple[bool, ...]
    shape: tuple[int, int]
    """B and T."""
    device: torch.device

    @cached_property
    def bounds(self) -> Tensor:
        """Where each begins in B * T positions, and the end: int32 [S + 1]."""
        ends = torch.tensor((0, *self.lengths), dtype=torch.int64).cumsum(0)
        return ends.to(self.device, torch.int32)

    @cached_property
    def numbers(self) -> Tensor:
        """Which segment each position is in, int64 [B T]."""
        lengths = torch.tensor(self.lengths)
        return torch.repeat_interleave(torch.arange(len(lengths)), lengths).view(self.shape).to(self.device)

    @cached_property
    def positions(self) -> Tensor:
        """Each position counted from the begin of its segment, int64 [B T]."""
        places = torch.arange(self.shape[0] * self.shape[1], device=self.device).view(self.shape)
        return places - self.bounds[self.numbers].long()

    @cached_property
    def mask(self) -> Tensor:
        """Who is seen, bool [B 1 T T]: what stands before in the same segment."""
        same = self.numbers[:, :, None] == self.numbers[:, None, :]
        return same.tril()[:, None]


def segments_of(samples: Sequence[Run], shape: Sequence[int], device: torch.device) -> Segments:
    """Return the segments of rows [B T] that hold these samples.

    Raises:
        ValueError: samples that overlap or leave their row.
    """
    rows, width = int(shape[0]), int(shape[1])
    lengths, is_sample, end = [], [], 0
    for run in sorted(samples, key=lambda run: (run.row, run.start)):
        start = run.row * width + run.start
        if start < end or run.start + run.length > width or run.row >= rows:
            raise ValueError(f"samples: expected them apart within {rows} rows of {width}, got {run}")
        lengths += _padding(end, start, width) + [run.length]
        is_sample += [False] * len(_padding(end, start, width)) + [True]
        end = start + run.length
    rest = _padding(end, rows * width, width)
    return Segments(
        tuple(lengths + rest), (*is_sample, *[False] * len(rest)), (rows, width), torch.device(device)
    )


def _padding(start: int, end: int, width: int) -> list[int]:
    """Return the lengths of padding from start to end, none of which crosses into another row."""
    found = []
    while start < end:
        stop = min(end, (start // width + 1) * width)
        found.append(stop - start)
        start = stop
    return found


def packed_arguments(implementation: str, segments: Segments, dtype: torch.dtype) -> dict[str, Any]:
    """Return what a Qwen2 of transformers is to be given beside embeddings whose rows hold several samples.

    Args:
        implementation: its attention, as its config names it.
        segments: where the samples stand.
        dtype: of the embeddings.
    """
    given = {"position_ids": segments.positions, "use_cache": False}
    if implementation == OURS:
        return given | {"attention_mask": {"full_attention": None}, "segments": segments}
    if implementation.startswith("flash_attention"):
        longest = max(segments.lengths)
        varlen = {"cu_seq_lens_q": segments.bounds, "cu_seq_lens_k": segments.bounds}
        varlen |= {"max_length_q": longest, "max_length_k": longest}
        return given | {"attention_mask": {"full_attention": None}} | varlen
    mask = segments.mask
    if implementation == "eager":  # adds the mask to the scores
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    return given | {"attention_mask": {"full_attention": mask}}


def attend_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Segments | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Speak the attention interface of transformers: [B heads T head_dim] in, [B T heads head_dim] out."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if segments is not None:
        return kernel_for(query)(query, key, value, segments), None
    is_short = query.shape[-2] == key.shape[-2] <= SHORT
    if not (is_short and attention_mask is None and query.requires_grad and query.device.type == "cpu"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return _by_products(query, *_repeated(query, key, value)).transpose(1, 2), None


def _repeated(query: Tensor, *shared: Tensor) -> tuple[Tensor, ...]:
    """Return keys and values, one for each head of the queries."""
    return tuple(x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in shared)


def _by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return causal attention [... heads T head_dim] by two matrix products and a softmax."""
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    weights = scores.float().masked_fill(future, -torch.inf).softmax(-1).to(value.dtype)
    return weights @ value


Kernel = Callable[[Tensor, Tensor, Tensor, Segments], Tensor]


def kernel_for(query: Tensor) -> Kernel:
    """Return the attention over segments that suits where the queries are."""
    if query.device.type == "cpu":
        return attend_pieces
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    return attend_varlen if query.device.type == "cuda" and is_half else attend_masked


def attend_pieces(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    """Attend within each sample on its own: no more work than the samples alone, whatever their row."""
    key, value = _repeated(query, key, value)
    flat = [x.transpose(0, 1).flatten(1, 2).split(segments.lengths, 1) for x in (query, key, value)]
    found = []
    for is_sample, q, k, v in zip(segments.is_sample, *flat, strict=True):
        if not is_sample:
            found.append(torch.zeros_like(q))
        elif q.shape[1] <= SHORT and q.requires_grad:
            found.append(_by_products(q, k, v))
        else:
            found.append(scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0])
    rows, width = segments.shape
    return torch.cat(found, 1).unflatten(1, (rows, width)).permute(1, 2, 0, 3)


def attend_varlen(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    """Attend by torch's flash attention for samples of many lengths; CUDA, half precision."""
    from torch.nn.attention.varlen import varlen_attn

    flat = [x.transpose(1, 2).flatten(0, 1) for x in (query, *_repeated(query, key, value))]
    longest = max(segments.lengths)
    known = inspect.signature(varlen_attn).parameters
    causal = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}  # torch before 2.11
    found = varlen_attn(*flat, segments.bounds, segments.bounds, longest, longest, **causal)
    return found.unflatten(0, segments.shape)


def attend_masked(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    """Attend over whole rows under a mask: right anywhere, and the most work."""
    key, value = _repeated(query, key, value)
    return scaled_dot_product_attention(query, key, value, segments.mask).transpose(1, 2)


def train_short_rows(llm: nn.Module) -> None:
    """Make a Qwen2 of transformers, if it is on SDPA, train through `attend_rows`; its results stay the same.

    An attention that was asked for by another name stays.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    if llm.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(OURS, attend_rows)
    AttentionMaskInterface.register(OURS, sdpa_mask)
    llm.config._attn_implementation = OURS
