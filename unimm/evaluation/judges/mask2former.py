"""Finding COCO's 80 things with Mask2Former, under the names that GenEval gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from unimm.evaluation.judges.instances import instances, network_input
from unimm.evaluation.judges.loading import batches, expect_kind, load_strictly, name_of
from unimm.evaluation.judges.protocols import Detections

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's 80 things in the order of their ids, https://cocodataset.org."""

RENAMED = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}
"""The names in which GenEval's object_names.txt departs from COCO's."""

_SPELLINGS = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}  # of published label maps that use Pascal VOC's names for COCO's things

GENEVAL = tuple(RENAMED.get(name, name) for name in COCO)
"""The names that GenEval's prompts use, by COCO's order."""


class Mask2FormerDetector:
    """Mask2Former of transformers between GenEval's own first and last steps; a `Detector`.

    With weights other than mmdetection's it is another judge than GenEval's, and named after them.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        name: str | None = None,
        names: Sequence[str] | str | Path | None = None,
        least_score: float = 0.05,
        batch_size: int = 1,
        device: str = "cpu",
    ) -> None:
        """Load a model.

        Args:
            source: a folder or hub id of a Mask2Former trained on COCO's instances.
            name: in the keys of scores; the folder's if None.
            names: of the classes, by id: a list, or a file with one per line such as GenEval's
                object_names.txt; None for COCO's things as GenEval names them, checked against the model.
            least_score: weaker finds are not reported; GenEval looks at those above 0.3 alone.
            batch_size: pictures of one size at a time.
            device: of the model.

        Raises:
            ValueError: another kind of model, other classes, or tensors that do not fit.
            FileNotFoundError: nothing there.
        """
        from transformers import Mask2FormerForUniversalSegmentation

        self.model, folder = load_strictly(
            Mask2FormerForUniversalSegmentation,
            source,
            unread=[r".*relative_position_index"],  # computed from the window's size
            device=device,
        )
        expect_kind(folder, self.model.config.model_type, ["mask2former"])
        self.name = name or name_of(source)
        self.labels = class_names(self.model.config.id2label, names)
        self.least_score, self.batch_size = least_score, batch_size

    @torch.no_grad()
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return what is in each picture, best class score first."""
        found: list[Detections] = []
        for _, alike in groupby(images, key=lambda image: image.size):
            for batch in batches(list(alike), self.batch_size):
                found += self._detect_alike(batch)
        return found

    def _detect_alike(self, images: Sequence[Image]) -> list[Detections]:
        prepared = [network_input(image) for image in images]
        pixels = torch.stack([pixels for pixels, _ in prepared])
        seen = self.model(pixels.to(self.model.device, self.model.dtype))
        logits = zip(seen.class_queries_logits, seen.masks_queries_logits, strict=True)
        padded, content = tuple(pixels.shape[-2:]), prepared[0][1]
        return [
            self._named(instances(*pair, padded, content, (image.height, image.width), self.least_score))
            for image, pair in zip(images, logits, strict=True)
        ]

    def _named(self, found: Any) -> Detections:
        labels = tuple(self.labels[index] for index in found.classes)
        return Detections(found.boxes, found.scores, labels, found.masks)


def class_names(
    id2label: Mapping[int, str], names: Sequence[str] | str | Path | None = None
) -> tuple[str, ...]:
    """Return the name of each class by its id.

    Args:
        id2label: the model's own names.
        names: see `Mask2FormerDetector`.

    Raises:
        FileNotFoundError: no such file of names.
        ValueError: the model knows other classes than COCO's 80 things, or not as many as there are names.
    """
    if names is None:
        own = [id2label.get(i, "") for i in range(len(id2label))]
        wrong = [
            f"{i} is {a!r}, not {b!r}"
            for i, (a, b) in enumerate(zip(own, COCO, strict=False))
            if _plain(a) != b
        ]
        if len(own) != len(COCO) or wrong:
            raise ValueError(
                f"detector: expected COCO's {len(COCO)} things by id, got {len(own)} classes"
                f"{'; ' + ', '.join(wrong[:5]) if wrong else ''}; give the names of others as `names`"
            )
        return GENEVAL
    given = _read_names(names) if isinstance(names, str | Path) else tuple(names)
    if len(given) != len(id2label):
        raise ValueError(f"names: expected one per class, {len(id2label)}, got {len(given)}")
    return given


def _plain(label: str) -> str:
    lower = label.strip().lower().replace("_", " ")
    return _SPELLINGS.get(lower, lower)


def _read_names(path: str | Path) -> tuple[str, ...]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"names: no file at {path}")
    return tuple(line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip())
