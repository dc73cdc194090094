"""Weights on disk: our folder format, and explicit maps of names to and from published checkpoints."""

from unimm.weights.autoencoder_rae import AutoencoderRAE, read_autoencoder_rae, write_autoencoder_rae
from unimm.weights.ditdh import ditdh_map, ditdh_sizes
from unimm.weights.folder import check_state, check_tables, load_folder, load_strictly, save_folder
from unimm.weights.keymap import Entry, KeyMap
from unimm.weights.lightningdit import (
    lightningdit_map,
    lightningdit_sizes,
    read_latent_statistics,
    write_latent_statistics,
)
from unimm.weights.rae import (
    decoder_sizes,
    read_decoder,
    read_statistics,
    write_decoder,
    write_statistics,
)
from unimm.weights.scale_rae import DECODER, DIT, FLOW_HEAD, SIGLIP, SIGLIP_WITH_HEAD, dit_sizes
from unimm.weights.scale_rae_ddt import ddt_map, ddt_sizes
from unimm.weights.sd3 import diffusers_sd3, original_sd3, original_sd3_sizes
from unimm.weights.sd3_config import mmdit_config, to_diffusers_config
from unimm.weights.sd3_files import read_sd3_file, read_sd3_folder, write_sd3_file, write_sd3_folder
from unimm.weights.sit import SitFile, read_sit, write_sit
from unimm.weights.wrapped import unwrapped

__all__ = [
    "DECODER",
    "DIT",
    "FLOW_HEAD",
    "SIGLIP",
    "SIGLIP_WITH_HEAD",
    "AutoencoderRAE",
    "Entry",
    "KeyMap",
    "SitFile",
    "check_state",
    "check_tables",
    "ddt_map",
    "ddt_sizes",
    "decoder_sizes",
    "diffusers_sd3",
    "dit_sizes",
    "ditdh_map",
    "ditdh_sizes",
    "lightningdit_map",
    "lightningdit_sizes",
    "load_folder",
    "load_strictly",
    "mmdit_config",
    "original_sd3",
    "original_sd3_sizes",
    "read_autoencoder_rae",
    "read_decoder",
    "read_latent_statistics",
    "read_sd3_file",
    "read_sd3_folder",
    "read_sit",
    "read_statistics",
    "save_folder",
    "to_diffusers_config",
    "unwrapped",
    "write_autoencoder_rae",
    "write_decoder",
    "write_latent_statistics",
    "write_sd3_file",
    "write_sd3_folder",
    "write_sit",
    "write_statistics",
]
