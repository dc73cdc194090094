"""Generators without an LLM: by class, or by the text of CLIP and T5; the same bodies, flow and latents."""

from unimm.generator.base import GeneratedPictures, Generator
from unimm.generator.by_class import ClassGenerator
from unimm.generator.by_text import TextGenerator
from unimm.generator.settings import FlowSettings, GeneratorSettings, SamplingSettings

__all__ = [
    "ClassGenerator",
    "FlowSettings",
    "GeneratedPictures",
    "Generator",
    "GeneratorSettings",
    "SamplingSettings",
    "TextGenerator",
]
