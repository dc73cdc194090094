"""Sample grids: pictures side by side, so that a run can be watched."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from unimm.shapes import expect
from unimm.whole import appearing


def grid(pixels: Tensor, columns: int, gap: int = 2) -> Image.Image:
    """One picture of many, row by row on white.

    Args:
        pixels: [B 3 Hp Wp] in [0, 1]; values outside are clamped.
        columns: pictures per row; the last row may hold fewer.
        gap: white pixels between pictures.
    """
    sizes = expect("pixels", pixels, "B 3 H W")
    if columns < 1 or sizes["B"] < 1:
        raise ValueError(f"grid: expected 1 or more pictures and columns, got {sizes['B']} and {columns}")
    columns = min(columns, sizes["B"])
    height, width = sizes["H"] + gap, sizes["W"] + gap
    rows = -(-sizes["B"] // columns)
    sheet = torch.ones(3, rows * height - gap, columns * width - gap)
    for index, picture in enumerate(pixels.detach().float().cpu().clamp(0, 1)):
        top, left = (index // columns) * height, (index % columns) * width
        sheet[:, top : top + sizes["H"], left : left + sizes["W"]] = picture
    return Image.fromarray((sheet * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def save_grid(pixels: Tensor, folder: Path, step: int, columns: int, name: str = "grid") -> Path:
    """Write `{name}-{step}.png` in a run's samples folder; atomically."""
    path = folder / f"{name}-{step:08d}.png"
    with appearing(path) as partial:
        grid(pixels, columns).save(partial, format="PNG")
    return path
