"""What the installation weighs and which build of torch it has."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

CHOOSE_TORCH = (
    "To choose a CPU or a CUDA build of torch, name its package index once: make demo TORCH_INDEX=<url> "
    "(PyTorch's installation page shows the url for your machine)."
)


def folder_bytes(folder: Path) -> int:
    """Return the size of all regular files below a folder, in bytes; links are not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if not path.is_symlink():
                total += path.stat().st_size
    return total


def package_sizes(site: Path) -> dict[str, int]:
    """Return the bytes of every entry of a site-packages folder, the largest first."""
    sizes = {
        entry.name: folder_bytes(entry) if entry.is_dir() else entry.stat().st_size
        for entry in site.iterdir()
        if not entry.is_symlink()
    }
    return dict(sorted(sizes.items(), key=lambda item: item[1], reverse=True))


def human(size: float) -> str:
    """Return a number of bytes as text: 20 MB, 1.9 GB."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def weight(site: Path | None = None) -> str:
    """Return what the installed packages weigh, and the three heaviest: 1.6 GB (torch 0.7 GB, ...)."""
    sizes = package_sizes(site or Path(sysconfig.get_paths()["purelib"]))
    heaviest = ", ".join(f"{name} {human(size)}" for name, size in list(sizes.items())[:3])
    return f"{human(sum(sizes.values()))} ({heaviest})"


def torch_build() -> str:
    """Return torch's version and what it computes on."""
    import torch

    if torch.version.cuda:
        seen = "GPU found" if torch.cuda.is_available() else "no GPU found"
        return f"{torch.__version__} (CUDA build, {seen})"
    return f"{torch.__version__} (CPU build, {torch.get_num_threads()} threads)"
