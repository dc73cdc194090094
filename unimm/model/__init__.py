"""UniMM: the rooms wired into one model that sees, talks, draws and checks itself."""

from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.losses import Losses
from unimm.model.profile import PROFILES, Profile
from unimm.model.unimm import UniMM
from unimm.model.verifying import on_pixels

__all__ = ["PROFILES", "Losses", "ModelSettings", "Profile", "UniMM", "UniMMConfig", "on_pixels"]
