"""The sizes and variants of the bodies made of modulated blocks: `lightning` and `ddt`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from unimm.dit.attention import ATTENTIONS
from unimm.dit.blocks import MLPS
from unimm.dit.norms import NORMS
from unimm.dit.time import TIME_KINDS
from unimm.tables import expect_known


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of a LightningDiT. Published: width 2048, depth 32, heads 32, channels 1152, grid 16.

    The defaults are Scale-RAE's network; RAE, LightningDiT and DiT differ as the fields say.
    """

    channels: int
    """C, latent channels; the paper keeps width above it."""
    width: int
    """W; with rotary positions a multiple of 4 heads."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads; W / heads is a multiple of 4 for the rotary positions."""
    condition_width: int
    """Z; equal to the width in the published recipes."""
    grid: int
    """Latent positions per side: N = grid * grid."""
    mlp_width: int | None = None
    """Hidden width of the MLP. None is the published one: int(2/3 * 4 W) for "swiglu", often odd (multiples
    of 32 run faster), 4 W for "gelu"."""
    guidable: bool = True
    """Whether a null condition is learned. False for checkpoints trained without condition dropout."""
    patch_size: int = 1
    """p; p x p latent positions make one token, M = N / p^2. 2 for SD-VAE latents."""
    num_classes: int | None = None
    """Conditions are class labels of this many classes (1000 for ImageNet); None is vectors."""
    qk_norm: bool = False
    """RMSNorm of each head's q and k."""
    norm: str = "rms"
    """"rms" with a weight, or "layer" without weight and bias (DiT, SiT)."""
    mlp: str = "swiglu"
    """"swiglu", or "gelu" by its tanh form (DiT, SiT)."""
    shift: bool = True
    """Whether the blocks' modulations have shifts; the final layer always has."""
    positions: bool = True
    """Whether the fixed sine table is added to the embedded latents."""
    rope: bool = True
    """Whether attention turns q and k by rotary positions."""
    time: str = "fourier"
    """"fourier" (Scale-RAE, RAE) or "sinusoid" (LightningDiT, DiT, SiT)."""
    num_frequencies: int | None = None
    """Only for "fourier". None is the published constants, which no checkpoint holds; a number is that
    many frequencies of the model's own, kept in its checkpoint (RAE: 256)."""
    time_scale: float = 1.0
    """What the network's time is multiplied by: 999 for DiT, which was trained on steps 0 to 999."""
    time_reversed: bool = False
    """Whether the network is fed 1 - t: published files with t = 0 as noise. The sign of their velocity is
    in the final projection."""
    learn_sigma: bool = False
    """Whether the final projection has twice the channels, of which the first C are the velocity."""
    condition_activations: int = 2
    """SiLUs between time + condition and the modulations: 2 in Scale-RAE and DiT^DH, 1 in LightningDiT."""
    attention: str = "auto"
    """How attention is computed, a row of ATTENTIONS. All agree up to rounding."""

    def __post_init__(self) -> None:
        for name in ("channels", "width", "depth", "heads", "condition_width", "grid", "patch_size"):
            positive(name, getattr(self, name))
        for name, kinds in (
            ("norm", NORMS), ("mlp", MLPS), ("time", TIME_KINDS), ("attention", ATTENTIONS)
        ):  # fmt: skip
            one_of(name, getattr(self, name), kinds)
        if self.grid % self.patch_size:
            raise ValueError(
                f"dit.grid: expected a multiple of patch_size = {self.patch_size}, got {self.grid}"
            )
        if self.num_frequencies is not None and self.time != "fourier":
            raise ValueError(
                f"dit.num_frequencies: expected None for time={self.time!r}, got {self.num_frequencies}"
            )
        check_width("width", self.width, self.heads, self.rope, self.positions)

    @property
    def side(self) -> int:
        """Tokens per side."""
        return self.grid // self.patch_size

    @property
    def patch_channels(self) -> int:
        """Numbers in one token: C p^2."""
        return self.channels * self.patch_size**2


@dataclass(frozen=True)
class DDTConfig(DiTConfig):
    """A LightningDiT whose output conditions a head: width, depth and heads are those of the base.

    Published: DiT^DH-XL has a base of width 1152, depth 28, heads 16 (RAE).
    """

    head_width: int = 2048
    """Width of the head; the paper keeps it above the channels. It may equal the base's."""
    head_depth: int = 2
    """Blocks of the head."""
    head_heads: int = 16
    """Attention heads of the head."""
    head_mlp_width: int | None = None
    """Hidden width of the head's MLP; None as in mlp_width."""
    bridge: str = "time"
    """What conditions the head: "time" adds the embedded time to the base's output (RAE; Z = W then),
    "plain" does not (Scale-RAE)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("head_width", "head_depth", "head_heads"):
            positive(name, getattr(self, name))
        check_width("head_width", self.head_width, self.head_heads, self.rope, positions=False)
        one_of("bridge", self.bridge, ("time", "plain"))
        if self.bridge == "time" and self.condition_width != self.width:
            raise ValueError(
                f"dit.condition_width: expected the width {self.width} where the bridge adds the time, "
                f"got {self.condition_width}; or set bridge to 'plain'"
            )


def positive(name: str, value: int) -> None:
    """Raise a ValueError unless value is positive."""
    if value < 1:
        raise ValueError(f"dit.{name}: expected a positive number, got {value}")


def one_of(name: str, value: str, kinds: Collection[str]) -> None:
    """Raise a ValueError that suggests the nearest kind, unless value is one of them."""
    expect_known(f"dit.{name}", value, kinds)


def check_width(name: str, width: int, heads: int, rope: bool, positions: bool) -> None:
    """Raise a ValueError unless heads divide the width and the position tables fit it."""
    factor = 4 * heads if rope else heads
    if width % factor:
        shape = f"4 * heads = {factor}" if rope else f"heads = {factor}"
        raise ValueError(f"dit.{name}: expected a multiple of {shape}, got {width}")
    if positions and width % 4:
        raise ValueError(f"dit.{name}: expected a multiple of 4 for the position table, got {width}")
