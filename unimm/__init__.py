"""One model that sees, talks, draws and checks itself.

The public names are loaded when they are first used: importing this package does no work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unimm import _torchvision  # noqa: F401  (first: it cures a broken torchvision before anything imports it)

if TYPE_CHECKING:
    from unimm.chat import Conversation
    from unimm.generator import ClassGenerator, GeneratorSettings, TextGenerator
    from unimm.model import ModelSettings, UniMM, UniMMConfig, on_pixels

__version__ = "0.1.0"

_PUBLIC = {
    "ClassGenerator": "unimm.generator",
    "Conversation": "unimm.chat",
    "GeneratorSettings": "unimm.generator",
    "ModelSettings": "unimm.model",
    "TextGenerator": "unimm.generator",
    "UniMM": "unimm.model",
    "UniMMConfig": "unimm.model",
    "on_pixels": "unimm.model",
}

__all__ = [
    "ClassGenerator",
    "Conversation",
    "GeneratorSettings",
    "ModelSettings",
    "TextGenerator",
    "UniMM",
    "UniMMConfig",
    "on_pixels",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'unimm' has no attribute {name!r} (public names: {', '.join(_PUBLIC)})")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
