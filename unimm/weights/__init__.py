"""Weights on disk: our folder format, and explicit maps of names to and from published checkpoints."""

from unimm.weights.folder import check_state, load_folder, load_strictly, save_folder
from unimm.weights.keymap import Entry, KeyMap
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
    "dit_sizes",
    "load_folder",
    "load_strictly",
    "save_folder",
    "unwrapped",
]
