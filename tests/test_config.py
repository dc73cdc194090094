"""unimm.config: typed values out of YAML, and refusals that say where and suggest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from unimm import config


@dataclass(frozen=True)
class Dit:
    depth: int
    width: int = 64

    def __post_init__(self):
        if self.width % 2:
            raise ValueError(f"width: expected an even number, got {self.width}")


@dataclass(frozen=True)
class Part:
    size: int


@dataclass(frozen=True)
class Run:
    dit: Dit
    lr: float
    name: str = "run"
    betas: tuple[float, float] = (0.9, 0.95)
    steps: tuple[int, ...] = ()
    clip: float | None = 1.0
    kind: Literal["adamw", "muon"] = "adamw"
    amp: bool = False
    parts: dict[str, Part] = field(default_factory=dict)
    second: Dit | None = None
    model: dict = field(default_factory=dict)
    size: int | str = 1


def written(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_kind_of_field_is_converted(tmp_path):
    text = """
    dit: {depth: 3}
    lr: 1e-4
    betas: [0.5, 1]
    steps: [1, 2, 3]
    clip: null
    amp: true
    parts: {a: {size: 1}, b: {size: 2}}
    second: {depth: 1, width: 2}
    """
    run = config.load(Run, written(tmp_path, text))
    assert run == Run(
        dit=Dit(3),
        lr=0.0001,
        betas=(0.5, 1.0),
        steps=(1, 2, 3),
        clip=None,
        amp=True,
        parts={"a": Part(1), "b": Part(2)},
        second=Dit(1, 2),
    )
    assert isinstance(run.betas[1], float)


def test_an_unknown_key_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="missing") as missing:
        config.build(Run, {"dit": {}, "lr": 1.0})
    assert str(missing.value) == "config.dit: missing key 'depth'"
    with pytest.raises(ValueError, match="depht") as unknown:
        config.build(Run, {"dit": {"depht": 3}, "lr": 1.0})
    assert (
        str(unknown.value) == "config.dit: unknown key 'depht'; did you mean 'depth'? (known: depth, width)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dit": {"depth": "three"}}, "config.dit.depth: expected a whole number, got 'three' (str)"),
        ({"dit": {"depth": 3.0}}, "config.dit.depth: expected a whole number, got 3.0 (float)"),
        ({"dit": {"depth": True}}, "config.dit.depth: expected a whole number, got True (bool)"),
        ({"dit": None}, "config.dit: expected a mapping for Dit, got nothing (null)"),
        ({"dit": {"depth": 3, "width": 7}}, "config.dit: width: expected an even number, got 7"),
        ({"lr": "fast"}, "config.lr: expected a number, got 'fast' (str)"),
        ({"lr": True}, "config.lr: expected a number, got True (bool)"),
        ({"amp": 1}, "config.amp: expected true or false, got 1 (int)"),
        ({"size": None}, "config.size: expected one of a whole number, a string, got nothing (null)"),
        ({"clip": "no"}, "config.clip: expected a number, got 'no' (str)"),
        ({"betas": [0.9]}, "config.betas: expected 2 values, got 1: [0.9]"),
        ({"steps": [1, "x"]}, "config.steps[1]: expected a whole number, got 'x' (str)"),
        ({"steps": 3}, "config.steps: expected a list, got 3 (int)"),
        (
            {"kind": "adam"},
            "config.kind: expected one of 'adamw', 'muon', got 'adam' (str); did you mean 'adamw'?",
        ),
        (
            {"parts": {"a": {"sise": 1}}},
            "config.parts.a: unknown key 'sise'; did you mean 'size'? (known: size)",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(changes, message):
    with pytest.raises(ValueError, match="config") as refused:
        config.build(Run, {"dit": {"depth": 3}, "lr": 1.0, **changes})
    assert str(refused.value) == message


def test_overrides_reach_into_sections(tmp_path):
    path = written(tmp_path, "dit: {depth: 3}\nlr: 1.0\n")
    run = config.load(Run, path, ["dit.depth=5", "lr=1e-5", "clip=null", "steps=[4,5]", "amp=true"])
    assert (run.dit.depth, run.lr, run.clip, run.steps, run.amp) == (5, 1e-5, None, (4, 5), True)
    with pytest.raises(ValueError, match="did you mean 'depth'"):
        config.load(Run, path, ["dit.depths=5"])
    with pytest.raises(ValueError, match="expected key=value"):
        config.load(Run, path, ["dit.depth"])


def test_a_section_may_name_a_file_and_state_differences(tmp_path):
    (tmp_path / "model").mkdir()
    written(tmp_path, "depth: 3\nwidth: 8\n", "model/tiny.yaml")
    written(tmp_path, "llm: {width: 1, depth: 2}\n", "model/whole.yaml")
    text = (
        "dit: {file: model/tiny.yaml, width: 16}\nmodel: {file: model/whole.yaml, llm: {depth: 9}}\nlr: 1.0\n"
    )
    run = config.load(Run, written(tmp_path, text), ["dit.depth=4"])
    assert run.dit == Dit(depth=4, width=16)
    assert run.model == {"llm": {"width": 1, "depth": 9}}


def test_a_named_file_names_no_further_file(tmp_path):
    written(tmp_path, "depth: 3\n", "a.yaml")
    written(tmp_path, "file: a.yaml\n", "b.yaml")
    with pytest.raises(ValueError, match="unknown key 'file'"):
        config.load(Run, written(tmp_path, "dit: {file: b.yaml}\nlr: 1.0\n"))


def test_a_missing_or_broken_file_is_named(tmp_path):
    written(tmp_path, "dit: {depth: 3}\nlr: 1.0\n", "joint.yaml")
    with pytest.raises(
        FileNotFoundError, match=r"jiont.yaml: no such config file; did you mean .*joint.yaml"
    ):
        config.load(Run, tmp_path / "jiont.yaml")
    with pytest.raises(ValueError, match="expected a YAML mapping"):
        config.load(Run, written(tmp_path, "dit: [1, 2\n"))
    with pytest.raises(ValueError, match="got a list"):
        config.load(Run, written(tmp_path, "- 1\n- 2\n"))


def test_what_is_saved_is_loaded_equal(tmp_path):
    run = Run(Dit(3), lr=1e-5, parts={"a": Part(1)}, second=Dit(1, 2), steps=(1,), clip=None)
    config.save(run, tmp_path / "out.yaml")
    assert config.load(Run, tmp_path / "out.yaml") == run
    assert config.build(Run, config.to_dict(run)) == run
    assert [p.name for p in tmp_path.iterdir()] == ["out.yaml"]


def test_a_files_keys_tell_what_it_is_for(tmp_path):
    @dataclass
    class Wants:
        a: int
        b: int = 0

    path = tmp_path / "some.yaml"
    for text, expected in (("a: 1", True), ("{a: x, b: 2}", True), ("b: 1", False), ("{a: 1, c: 2}", False)):
        path.write_text(text)
        assert config.fits(Wants, path) is expected
