"""Text to pictures: the LLM reads each prompt once, the DiT draws every candidate from its own seed."""

from unimm.flow.sampling import DrawingState, Sampling
from unimm.model.drawing.asking import AnsweredInText, conditions_of
from unimm.model.drawing.generating import GeneratedImages, generate_image
from unimm.model.drawing.options import guidance_of, sampling_of
from unimm.model.drawing.showing import OutputType, show
from unimm.model.drawing.strokes import compile_drawing, draw_latents, drawing_steps

__all__ = [
    "AnsweredInText",
    "DrawingState",
    "GeneratedImages",
    "OutputType",
    "Sampling",
    "compile_drawing",
    "conditions_of",
    "draw_latents",
    "drawing_steps",
    "generate_image",
    "guidance_of",
    "sampling_of",
    "show",
]
