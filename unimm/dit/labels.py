"""Class labels as vectors, with one more for "no class" (Peebles & Xie 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unimm.shapes import expect, has_values


class LabelTable(nn.Module):
    """A vector per class; the last row, where there is one, is the null label that guidance needs."""

    def __init__(self, num_classes: int, width: int, guidable: bool = True):
        """Build the table.

        Args:
            num_classes: labels are 0 .. num_classes - 1.
            width: Z, the width of a vector.
            guidable: whether there is a null label, row num_classes. False for checkpoints trained
                without label dropout.
        """
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes: expected a positive number, got {num_classes}")
        self.num_classes, self.guidable = num_classes, guidable
        self.table = nn.Embedding(num_classes + guidable, width)

    def forward(self, labels: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Return [B Z].

        Args:
            labels: [B] integers in 0 .. num_classes - 1.
            dropped: [B] bool, where the null label stands in for the class.

        Raises:
            ValueError: labels of another shape or type or out of range, or dropped without a null label.
        """
        sizes = expect("labels", labels, "B")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(f"labels: expected integers, got {labels.dtype}")
        self._refuse_strangers(labels)
        if dropped is None:
            return self.table(labels)
        expect("dropped", dropped, "B", **sizes)
        if not self.guidable:
            raise ValueError(
                "null label: this model was built without one (guidable=False), so labels cannot be dropped "
                "nor guidance used; set guidance_scale to 1"
            )
        return self.table(labels.masked_fill(dropped, self.num_classes))

    def reset_parameters(self) -> None:
        """Set the table to N(0, 0.02)."""
        nn.init.normal_(self.table.weight, std=0.02)

    def _refuse_strangers(self, labels: Tensor) -> None:
        if not has_values(labels):  # an accelerator's own lookup asserts the range
            return
        low, high = labels.aminmax()
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"labels: expected 0 to {self.num_classes - 1}, got {int(low)} to {int(high)}; "
                "the null label is put where `dropped` is true"
            )
