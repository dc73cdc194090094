"""Weights on disk: our folder format, and explicit maps of names to and from published checkpoints."""

from unimm.weights.folder import check_state, load_folder, load_strictly, save_folder
from unimm.weights.keymap import Entry, KeyMap
from unimm.weights.rae import (
    decoder_sizes,
    read_decoder,
    read_statistics,
    write_decoder,
    write_statistics,
)
from unimm.weights.scale_rae import DECODER, DIT, FLOW_HEAD, SIGLIP, SIGLIP_WITH_HEAD, dit_sizes
from unimm.weights.wrapped import unwrapped

__all__ = [
    "DECODER",
    "DIT",
    "FLOW_HEAD",
    "SIGLIP",
    "SIGLIP_WITH_HEAD",
    "Entry",
    "KeyMap",
    "check_state",
    "decoder_sizes",
    "dit_sizes",
    "load_folder",
    "load_strictly",
    "read_decoder",
    "read_statistics",
    "save_folder",
    "unwrapped",
    "write_decoder",
    "write_statistics",
]
