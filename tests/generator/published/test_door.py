"""The one door to published files: by kind and by the names of what lies on disk."""

from __future__ import annotations

import pytest

from tests.generator.small import class_generator, text_generator
from unimm.generator.published import PUBLISHED, SAVED, load_published, save_published


def test_kinds_are_known_and_a_near_miss_is_named():
    assert {"rae", "lightningdit", "sit", "repa", "dit", "sd3"} == SAVED.keys() < PUBLISHED.keys()
    for function in (lambda kind: load_published(kind), lambda kind: save_published(kind, None, "out")):
        with pytest.raises(
            ValueError, match="published: expected one of rae, .* did you mean 'lightningdit'"
        ):
            function("lightingdit")


@pytest.mark.parametrize("kind", PUBLISHED)
def test_paths_that_are_missing_are_listed(kind):
    with pytest.raises(ValueError, match=rf"^published '{kind}': expected (\w+).*; missing: \1"):
        load_published(kind)


def test_an_argument_that_is_not_taken_is_named(tmp_path):
    with pytest.raises(ValueError, match="published 'sd3': expected folder; unknown: vea"):
        load_published("sd3", folder=tmp_path, vea=tmp_path)


@pytest.mark.parametrize("kind", SAVED)
def test_a_generator_of_other_parts_is_not_written(kind, tmp_path):
    model = class_generator("sit") if kind in ("sd3", "rae", "lightningdit") else text_generator()
    with pytest.raises(ValueError, match=f"^{kind}: expected "):
        save_published(kind, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
