"""Without the extras that read parquet and the hub, what to install is said."""

from __future__ import annotations

import sys

import pytest

from unimm.data.readers import open_source


@pytest.mark.parametrize(("name", "path"), [("pyarrow", "rows.parquet"), ("datasets", "hf://owner/name")])
def test_what_is_missing_is_named(tmp_path, monkeypatch, name, path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{name} is not installed; pip install 'unimm\[train\]'"):
        open_source(path)
