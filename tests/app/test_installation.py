"""What is said of the installation is measured."""

from __future__ import annotations

from unimm.app import installation


def test_sizes_are_counted_and_links_are_not(tmp_path):
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "lib" / "core.so").write_bytes(bytes(3_000_000))
    (tmp_path / "single.py").write_bytes(bytes(1_000))
    (tmp_path / "again").symlink_to(tmp_path / "torch")
    assert installation.package_sizes(tmp_path) == {"torch": 3_000_000, "single.py": 1_000}
    assert installation.weight(tmp_path) == "3 MB (torch 3 MB, single.py 1 kB)"


def test_sizes_read_well():
    assert [installation.human(size) for size in (1_500, 20e6, 1.94e9)] == ["2 kB", "20 MB", "1.9 GB"]


def test_the_build_of_torch_is_named():
    assert "build" in installation.torch_build()
