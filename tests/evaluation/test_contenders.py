"""Generators as sides of a comparison: recognised by their folders, drawn alike, read class by class."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.generator.small import BODIES, class_generator, text_generator
from tests.model.small import small_model
from unimm.evaluation.contenders import ByClass, ByText, Whole, open_sides, sort_of
from unimm.evaluation.gain import gains, main
from unimm.evaluation.sides import Settings, classes_of, measured, read_as
from unimm.world import vocabulary as words
from unimm.world.classes import CLASSES
from unimm.world.render import render
from unimm.world.scene import Scene, Thing, Writing

ALL = Settings(limit=144, steps=1)


def scene(colour: str, shape: str) -> Scene:
    return Scene("mint" if colour != "green" else "sky", (Thing(shape, colour, 0.5, 0.5, 0.19),))


class Painter:
    """A generator by class that paints what `paint(colour, shape)` says, and notes what it was asked."""

    def __init__(self, paint=scene, names=CLASSES, mark: float = 0.0):
        self.settings = SimpleNamespace(class_names=names, dit=SimpleNamespace(num_classes=len(names)))
        self.paint, self.mark, self.seeds, self.asked = paint, mark, [], []

    def state_dict(self):
        import torch

        return {"mark": torch.tensor(self.mark)}

    def generate(
        self, labels, *, num_images_per_label, num_inference_steps, guidance_scale, seed, output_type
    ):
        assert (num_images_per_label, num_inference_steps, guidance_scale) == (1, 1, None)
        self.seeds += seed
        self.asked += labels
        pictures = [render(self.paint(*label.split()), 80) for label in labels]
        return SimpleNamespace(images=[Image.fromarray(each) for each in pictures], latents=None)


def other_shape(colour: str, shape: str) -> Scene:
    return scene(colour, words.SHAPES[words.SHAPES.index(shape) - 1])


def test_classes_are_read_by_shape_and_colour_and_the_gain_is_paired(tmp_path):
    before, after = Painter(other_shape, mark=1.0), Painter()
    sides = [measured(ByClass(each), ALL, tmp_path) for each in (before, after)]
    card = gains(*sides)
    assert list(card) == ["class", "shape", "colour"]  # measures of the same drawings: no mean over them
    assert [card[name]["before"].mean for name in card] == [0.0, 0.0, 1.0]
    assert all(row["after"].mean == 1.0 and row["gain"].n == 144 for row in card.values())
    gain = card["class"]["gain"]
    assert (gain.low, gain.mean, gain.high) == (1.0, 1.0, 1.0)
    assert before.seeds == after.seeds == list(range(144))  # the same noise for both
    assert [drawing.right for drawing in sides[1].drawings] == [True] * 144


def test_every_class_is_asked_for_as_often(tmp_path):
    painter = Painter()
    measured(ByClass(painter), Settings(limit=360, steps=1), tmp_path)
    assert {name: painter.asked.count(name) for name in CLASSES} == dict.fromkeys(CLASSES, 5)
    measured(ByClass(painter), Settings(limit=360, steps=1), tmp_path)
    assert len(painter.asked) == 360  # kept, not asked again
    measured(ByClass(painter), Settings(limit=72, steps=1, seed=1), tmp_path)
    assert not set(painter.seeds[:360]) & set(painter.seeds[360:])


def test_only_a_single_thing_is_read_as_a_class():
    asked = classes_of(Settings(limit=72))[:1] * 5
    colour, shape = CLASSES[0].split()
    thing = scene(colour, shape).things[0]
    wrong = Thing(shape, next(name for name in words.COLOURS if name != colour), 0.5, 0.5, 0.19)
    seen = [
        Scene("mint", (thing,)),
        Scene("mint", (wrong,)),
        Scene("mint"),
        Scene("mint", (thing, thing)),
        Scene("mint", (thing,), Writing("hi", "red", 0.5, 0.2)),
    ]
    right = read_as(asked, seen)
    assert right["class"].tolist() == [True, False, False, False, False]
    assert right["shape"].tolist() == [True, True, False, False, False]
    assert right["colour"].tolist() == [True, False, False, False, False]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Fresh generators and a model, each saved in a folder of its name."""
    place = tmp_path_factory.mktemp("folders")
    body = {**BODIES["ddt"], "num_classes": len(CLASSES)}
    for seed in (0, 1):
        class_generator(seed=seed, body=body, class_names=CLASSES).save_pretrained(place / f"class{seed}")
        text_generator(seed=seed).save_pretrained(place / f"text{seed}")
    class_generator().save_pretrained(place / "four")
    small_model().save_pretrained(place / "model")
    return {path.name: str(path) for path in place.iterdir()}


def test_a_folder_is_recognised_by_its_config(folders):
    kinds = {"class0": ByClass, "text1": ByText, "model": Whole, "four": ByClass}
    assert {name: sort_of(folders[name]) for name in kinds} == kinds
    assert sort_of("tiny") is Whole


@pytest.mark.parametrize("kind", ["class", "text"])
def test_the_command_compares_generators(folders, kind, tmp_path, capsys):
    names = [folders[f"{kind}0"], folders[f"{kind}1"]]
    place = ["--out", str(tmp_path / "parts"), "--json", str(tmp_path / "card.json")]
    main([*names, "--limit", "72" if kind == "class" else "6", "--steps", "1", *place])
    card = json.loads((tmp_path / "card.json").read_text())["card"]
    assert {row["gain"]["n"] for row in card.values()} == ({72} if kind == "class" else {1, 6})
    assert ("class" in card, "held_out overall" in card) == (kind == "class", kind == "text")
    assert "gain, points" in capsys.readouterr().out


def test_what_is_drawn_is_what_the_generator_draws(folders, tmp_path):
    opened = [each() for each in open_sides(folders["class0"], folders["class1"])]
    side = measured(opened[0], Settings(limit=72, steps=2, guidance=1.5), tmp_path)
    again = opened[0].generator.generate(CLASSES[60], num_inference_steps=2, guidance_scale=1.5, seed=60)
    assert np.abs(side.drawings[60].picture.astype(int) - np.asarray(again.images[0])).max() <= 1


def test_what_another_guidance_drew_is_not_taken_for_ones_own(tmp_path):
    """The same weights, and settings that guide otherwise: a folder keeps both apart."""
    body = {**BODIES["ddt"], "num_classes": len(CLASSES)}
    sides = [
        measured(ByClass(class_generator(body=body, class_names=CLASSES, sampling=each)), ALL, tmp_path)
        for each in ({"guidance_scale": 1.0}, {"guidance_scale": 9.0})
    ]
    one, two = (np.stack([drawing.picture for drawing in side.drawings]) for side in sides)
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (("class0", "text0"), [], "expected both to be generators by class or neither"),
        (("model", "class0"), [], "expected both to be generators by class or neither"),
        (("class0", "class1"), ["--limit", "71"], "--limit: expected 72 or more, one drawing per class"),
        (("class0", "class1"), ["--families", "colors"], "--families, --splits: expected neither"),
        (("class0", "class1"), ["--splits", "held_in"], "--families, --splits: expected neither"),
        (("text0", "text1"), ["--questions", "3"], "--questions: expected 0 for generators"),
        (("model", "text1"), ["--questions", "3"], "--questions: expected 0 for generators"),
        (("four", "four"), [], "expected the 72 classes of the built-in world, got 4 others"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(folders, names, more, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        main([*(folders[name] for name in names), "--steps", "1", "--out", str(tmp_path), *more])
