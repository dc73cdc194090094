"""Stable Diffusion 3's text conditioning: CLIP-L, OpenCLIP-bigG and T5-XXL, any subset of them.

    sequence [B L S]    | CLIP-L 768 | bigG 1280 | zeros to 4096 |   77 rows
                        | T5 4096                                |   77 rows after them (256 in pipelines)
    pooled [B P]        | CLIP-L 768 | bigG 1280 |

An encoder that is absent or dropped leaves zeros in its place. Esser et al. 2024, arXiv 2403.03206, section 4
and appendix B.3: each is dropped on its own in 46.4 % of the samples, so about 10 % see no text at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unimm.shapes import expect
from unimm.tables import expect_known
from unimm.text.clip import CLIP_G, CLIP_L, CLIPConfig, CLIPTower
from unimm.text.t5 import T5_XXL, T5Config, T5Tower
from unimm.text.words import Words

TOWERS = ("clip_l", "clip_g", "t5")
DROP_PROBABILITY = 0.464
"""0.464 ** 3 = 0.0999: a tenth of the samples trains the unconditional velocity."""


@dataclass(frozen=True)
class SD3TextConfig:
    """The places of the three encoders, and which of them are there."""

    clip_l: CLIPConfig | None = CLIP_L  # null: no place is kept for it
    clip_g: CLIPConfig | None = CLIP_G
    t5: T5Config | None = T5_XXL
    towers: tuple[str, ...] = TOWERS  # those that are there; the others' places hold zeros
    width: int = 4096  # S, to which shorter vectors are padded with zeros

    def __post_init__(self) -> None:
        check_towers(self.towers, "towers", TOWERS)
        clips = self.clips
        if not clips:
            raise ValueError(
                "clip_l, clip_g: expected a place for one, as the pooled vector is theirs, got neither; "
                "keep the sizes and leave the tower out of `towers`"
            )
        if len({clip.tokens for clip in clips.values()}) > 1:
            raise ValueError(
                "clip_g.tokens: expected clip_l's, as the two stand side by side: "
                f"{self.clip_l.tokens}, got {self.clip_g.tokens}"
            )
        homeless = [name for name in self.towers if getattr(self, name) is None]
        if homeless:
            raise ValueError(f"towers: expected sizes for {', '.join(homeless)}, got null")
        widest = max(sum(clip.width for clip in clips.values()), self.t5.width if self.t5 else 0)
        if self.width < widest:
            raise ValueError(f"width: expected {widest} or more, as the towers give, got {self.width}")

    @property
    def clips(self) -> dict[str, CLIPConfig]:
        """The CLIP towers that have a place, in order."""
        places = {"clip_l": self.clip_l, "clip_g": self.clip_g}
        return {name: clip for name, clip in places.items() if clip is not None}

    @property
    def num_tokens(self) -> int:
        """L, of the whole sequence."""
        return next(iter(self.clips.values())).tokens + (self.t5.tokens if self.t5 else 0)

    @property
    def pooled_width(self) -> int:
        """P."""
        return sum(clip.pooled_width for clip in self.clips.values())


@dataclass(frozen=True)
class Tokens:
    """Prompts as ids [B L] by tower, and how many tokens of each prompt did not fit, by tower."""

    ids: Mapping[str, Tensor]
    cut: Mapping[str, tuple[int, ...]]
    count: int  # B

    def to(self, device: torch.device | str) -> Tokens:
        """Return the same on a device."""
        return Tokens({name: ids.to(device) for name, ids in self.ids.items()}, self.cut, self.count)

    def without(self, names: Collection[str]) -> Tokens:
        """Return the same, less what the named towers would read."""
        left = {name: ids for name, ids in self.ids.items() if name not in names}
        return Tokens(left, {name: self.cut[name] for name in left}, self.count)

    def cut_in_words(self) -> list[str]:
        """Return one line for every prompt that a tower could not read to its end."""
        return [
            f"prompt {index}: {name} reads {self.ids[name].shape[1]} tokens, {cut} more were cut off"
            for name, each in self.cut.items()
            for index, cut in enumerate(each)
            if cut
        ]


class SD3Text(nn.Module):
    """Prompts to the sequence and the pooled vector that an MM-DiT reads."""

    def __init__(self, config: SD3TextConfig):
        super().__init__()
        self.config = config
        self.towers = nn.ModuleDict({name: _build(name, config) for name in TOWERS if name in config.towers})
        self.words: dict[str, Words] = {}  # the tokenizers, set by whoever builds or loads this

    def tokenize(self, prompts: Sequence[str], without: Collection[str] = ()) -> Tokens:
        """Return prompts as ids for every tower that is there, less those in `without`; "" is allowed.

        Raises:
            ValueError: an unknown name in `without`, or a tower that lacks its tokenizer, or has another's.
        """
        without, rows = [without] if isinstance(without, str) else list(without), {}
        check_towers(without, "without", TOWERS)
        for name, tower in self.towers.items():
            if name in without:
                continue
            self._check_words(name)
            rows[name] = self.words[name].rows(prompts, tower.config.tokens)
        ids = {name: row.ids for name, row in rows.items()}
        return Tokens(ids, {name: row.cut for name, row in rows.items()}, len(prompts))

    def forward(self, tokens: Tokens, dropped: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (sequence [B L S], pooled [B P]) of tokenised prompts.

        Args:
            tokens: ids for the towers; one without ids is not run and its place holds zeros.
            dropped: bool [B 3] in the order of TOWERS, true where an encoder's place is to hold zeros.
        """
        states, pooled = {}, {}
        for name, ids in tokens.ids.items():
            if name == "t5":
                states[name] = self.towers[name](ids)
            else:
                states[name], pooled[name] = self.towers[name](ids)
        reference = next(self.parameters(), torch.empty(0))
        blank = torch.zeros(tokens.count, 0, 0, dtype=reference.dtype, device=reference.device)
        return layout(self.config, blank, states, pooled, dropped)

    def encode(
        self, prompts: Sequence[str], without: Collection[str] = (), device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (sequence [B L S], pooled [B P]) of prompts, the encoders named in `without` not run.

        Raises:
            ValueError: as `tokenize`.
        """
        place = device or next(self.parameters(), torch.empty(0)).device
        return self(self.tokenize(prompts, without).to(place))

    def nothing(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the condition of no text at all: every encoder dropped, as in a tenth of the training."""
        config, x = self.config, next(self.parameters(), torch.empty(0))
        sequence = torch.zeros(count, config.num_tokens, config.width, dtype=x.dtype, device=x.device)
        return sequence, torch.zeros(count, config.pooled_width, dtype=x.dtype, device=x.device)

    def reset_tables(self) -> None:
        """Recompute the tables that are in no checkpoint."""
        for name, tower in self.towers.items():
            if name != "t5":
                tower.reset_tables()

    def _check_words(self, name: str) -> None:
        if name not in self.words:
            raise ValueError(f"words: expected the tokenizer of {name}, found none; load or set it")
        size, vocab_size = self.words[name].size, getattr(self.config, name).vocab_size
        # CLIP's end mark is its last id, where the pooled vector is read; T5's table is padded to 128s.
        if size > vocab_size or (name != "t5" and size != vocab_size):
            raise ValueError(f"{name}.vocab_size: expected its tokenizer's {size}, got {vocab_size}")


def layout(
    config: SD3TextConfig,
    blank: Tensor,
    states: Mapping[str, Tensor],
    pooled: Mapping[str, Tensor],
    dropped: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (sequence [B L S], pooled [B P]) from what each tower says; absent and dropped ones are zeros.

    Args:
        config: the places.
        blank: any tensor with B rows, of the dtype and on the device of the result.
        states: [B L W] by tower; CLIP's before its last block, T5's after its norm.
        pooled: [B P] by CLIP tower.
        dropped: bool [B 3] in the order of TOWERS.
    """
    count = len(blank)
    kept = None if dropped is None else ~expect_dropped(dropped, count)

    def place(name: str, found: Mapping[str, Tensor], *sizes: int) -> Tensor:
        if name not in found:
            return blank.new_zeros(count, *sizes)
        x = found[name]
        if kept is None:
            return x
        # Chosen, not multiplied: 0 times an overflow is no zero.
        keep = kept[:, TOWERS.index(name)].to(x.device).reshape(-1, *[1] * (x.ndim - 1))
        return torch.where(keep, x, torch.zeros((), dtype=x.dtype, device=x.device))

    clips = config.clips
    side = [place(name, states, clip.tokens, clip.width) for name, clip in clips.items()]
    parts = [_padded(torch.cat(side, dim=-1), config.width)]
    if config.t5 is not None:
        parts.append(_padded(place("t5", states, config.t5.tokens, config.t5.width), config.width))
    vectors = [place(name, pooled, clip.pooled_width) for name, clip in clips.items()]
    return torch.cat(parts, dim=1), torch.cat(vectors, dim=-1)


def drop_encoders(count: int, probability: float = DROP_PROBABILITY, *, generator: torch.Generator) -> Tensor:
    """Return bool [count 3] in the order of TOWERS, each true with the probability, all independent.

    The draw is made on the generator's own device.

    Raises:
        ValueError: the probability is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"drop probability: expected a number in [0, 1], got {probability}")
    return torch.rand(count, len(TOWERS), generator=generator, device=generator.device) < probability


def check_towers(names: Collection[str], where: str, known: Collection[str]) -> None:
    """Refuse a name that is no tower, or a tower named twice."""
    for name in names:
        expect_known(where, name, known)
    if len(set(names)) != len(names):
        raise ValueError(f"{where}: expected each name once, got {', '.join(names)}")


def expect_dropped(dropped: Tensor, count: int) -> Tensor:
    """Return dropped, bool [B 3], or refuse another shape."""
    expect("dropped", dropped, f"B {len(TOWERS)}", B=count)
    return dropped


def _build(name: str, config: SD3TextConfig) -> nn.Module:
    return (T5Tower if name == "t5" else CLIPTower)(getattr(config, name))


def _padded(x: Tensor, width: int) -> Tensor:
    return nn.functional.pad(x, (0, width - x.shape[-1]))
