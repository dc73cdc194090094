"""Pictures and texts in one space (CLIP, SigLIP), and GenEval's naming of colours in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unimm.evaluation.judges.loading import batches, expect_kind, load_strictly, name_of, unit_rows
from unimm.tables import pick

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
"""GenEval's ten, in its order."""

TEMPLATES = (
    "a photo of a {color} {label}",
    "a photo of a {color}-colored {label}",
    "a photo of a {color} object",
)
"""GenEval's three ways to say a colour."""

GREY = (0x99, 0x99, 0x99)  # stands for what is not the thing
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, of [0, 1]


@dataclass(frozen=True)
class Reading:
    """How a family of models was taught to read."""

    inputs: tuple[str, ...]
    """What the text tower is given."""
    padding: str
    """Texts of a batch: to the longest, or always to the full length."""
    lower: bool


FAMILIES: Mapping[str, Reading] = {
    "clip": Reading(("input_ids", "attention_mask"), "longest", lower=False),  # its tokenizer lowers itself
    "siglip": Reading(("input_ids",), "max_length", lower=True),  # big_vision: 64 tokens, the padding is seen
}
"""By `model_type`; SigLIP 2 of fixed resolution is of type "siglip"."""


class ContrastiveEmbedder:
    """CLIP or SigLIP of transformers with the pre-processing that lies in its folder; an `Embedder`."""

    def __init__(
        self, source: str | Path, *, name: str | None = None, batch_size: int = 16, device: str = "cpu"
    ) -> None:
        """Load a model, its tokenizer and its image processor.

        Args:
            source: a folder or hub id of a model of `FAMILIES`.
            name: in the keys of scores; the folder's if None.
            batch_size: pictures or texts at a time.
            device: of the model.

        Raises:
            ValueError: another kind of model, or tensors that do not fit.
            FileNotFoundError: nothing there.
        """
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        self.model, folder = load_strictly(AutoModel, source, device=device, unread=[r".*position_ids"])
        expect_kind(folder, self.model.config.model_type, list(FAMILIES))
        self.reading = pick("embedder", self.model.config.model_type, FAMILIES)
        own = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **own)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **own)
        self.name = name or name_of(source)
        self.batch_size = batch_size
        self.cut = 0
        """Texts so far that were longer than the model reads; their ends were not seen."""

    @torch.no_grad()
    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return [n d] float32, rows of length 1."""
        return self._stacked(
            self.embed(
                self.processor([image.convert("RGB") for image in batch], return_tensors="pt")["pixel_values"]
            )
            for batch in batches(images, self.batch_size)
        )

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return [n d] float32, rows of length 1; texts that are too long are cut, and counted in `cut`."""
        return self._stacked(self._embed_texts(batch) for batch in batches(texts, self.batch_size))

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Tensor:
        """Return [B d] of normalised pixels [B 3 Hp Wp], rows of length 1."""
        pixels = pixels.to(self.model.device, self.model.dtype)
        return unit_rows(self.model.get_image_features(pixel_values=pixels).pooler_output)

    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        length = self.model.config.text_config.max_position_embeddings
        texts = [text.lower() for text in texts] if self.reading.lower else list(texts)
        self.cut += sum(len(ids) > length for ids in self.tokenizer(texts)["input_ids"])
        padding = self.reading.padding
        tokens = self.tokenizer(
            texts, padding=padding, max_length=length, truncation=True, return_tensors="pt"
        )
        given = {key: tokens[key].to(self.model.device) for key in self.reading.inputs}
        return unit_rows(self.model.get_text_features(**given).pooler_output)

    def _stacked(self, parts: Any) -> np.ndarray:
        rows = list(parts)
        if not rows:
            raise ValueError("embedder: expected one or more pictures or texts, got none")
        return torch.cat(rows).cpu().numpy()


class ClipColors:
    """GenEval's colour classifier, zero-shot CLIP ViT-L/14 of OpenAI; a `ColorClassifier`."""

    def __init__(
        self, source: str | Path, *, name: str | None = None, batch_size: int = 16, device: str = "cpu"
    ) -> None:
        """Load CLIP from a folder or hub id; the arguments are those of `ContrastiveEmbedder`.

        Raises:
            ValueError: not a CLIP with the activation that OpenAI's weights were trained with.
        """
        self.embedder = ContrastiveEmbedder(source, name=name, batch_size=batch_size, device=device)
        config = self.embedder.model.config
        expect_kind(Path(source), config.model_type, ["clip"])
        activations = {config.text_config.hidden_act, config.vision_config.hidden_act}
        if activations != {"quick_gelu"}:
            raise ValueError(
                f"{source}: expected hidden_act quick_gelu in both towers, as OpenAI's CLIP has it, "
                f"got {', '.join(sorted(activations))}"
            )
        self.name, self.side, self.palette = self.embedder.name, config.vision_config.image_size, COLORS
        self._heads: dict[str, np.ndarray] = {}

    def colors(self, image: Image.Image, boxes: np.ndarray, masks: np.ndarray, label: str) -> list[str]:
        """Return the colour, one of `COLORS`, of each thing of one class."""
        if not len(boxes):
            return []
        crops = [crop(image, box, mask) for box, mask in zip(boxes, masks, strict=True)]
        features = [
            self.embedder.embed(torch.stack([clip_pixels(piece, self.side) for piece in batch])).cpu().numpy()
            for batch in batches(crops, self.embedder.batch_size)
        ]
        return [COLORS[i] for i in (np.concatenate(features) @ self._head(label).T).argmax(1)]

    def _head(self, label: str) -> np.ndarray:
        """Return [10 d]: per colour the mean of its sentences' rows, of length 1 again."""
        if label not in self._heads:
            said = [form.format(color=color, label=label) for color in COLORS for form in TEMPLATES]
            rows = self.embedder.texts(said).reshape(len(COLORS), len(TEMPLATES), -1).mean(1)
            self._heads[label] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return self._heads[label]


def crop(image: Image.Image, box: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Return the box's part of a picture in which all that the mask leaves out is grey.

    Args:
        image: H x W.
        box: [4] x1 y1 x2 y2; rounded to whole pixels, as Pillow does.
        mask: bool [H W].

    Raises:
        ValueError: the mask is of another size, or the box is empty.
    """
    if mask.shape != (image.height, image.width):
        raise ValueError(f"mask: expected {image.height} x {image.width} of the picture, got {mask.shape}")
    edges = tuple(round(float(value)) for value in box)
    if edges[2] <= edges[0] or edges[3] <= edges[1]:
        raise ValueError(f"box: expected x1 < x2 and y1 < y2, got {edges}")
    grey = Image.new("RGB", image.size, GREY)
    return Image.composite(image.convert("RGB"), grey, Image.fromarray(mask)).crop(edges)


def clip_pixels(image: Image.Image, side: int) -> Tensor:
    """Return a picture as OpenAI's CLIP takes it, [3 side side]: the shorter side bicubic, then the middle.

    Of what is far from square the ends are lost, in GenEval too.
    """
    short = min(image.size)
    size = [int(side * edge / short) for edge in image.size]
    resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (round((edge - side) / 2) for edge in size)
    pixels = np.asarray(resized.crop((left, top, left + side, top + side)), np.float32) / 255
    return torch.from_numpy((pixels - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)
