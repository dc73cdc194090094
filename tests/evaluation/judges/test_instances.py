"""Planted logits give the boxes, masks and scores that can be worked out by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from unimm.evaluation.judges.instances import MEAN, STD, instances, network_input, scaled_size, tight_boxes

FAR = 40.0  # of a logit; its sigmoid is 1 in float32


def planted(num_queries=3, num_classes=4, side=16):
    """Logits that speak of nothing: every query is "no object", every mask is empty."""
    class_logits = torch.zeros(num_queries, num_classes + 1)
    class_logits[:, -1] = FAR
    return class_logits, torch.full((num_queries, side, side), -FAR)


def plant(logits, query, probability, label, rows, columns, level=FAR):
    """Say that a query sees a class with a probability, in a rectangle of its mask."""
    class_logits, mask_logits = logits
    others = class_logits.shape[1] - 1
    class_logits[query] = torch.log(torch.tensor((1 - probability) / others))
    class_logits[query, label] = torch.log(torch.tensor(probability))
    mask_logits[query, slice(*rows), slice(*columns)] = level


def test_a_planted_rectangle_is_found_where_it_was_planted():
    logits = planted()
    plant(logits, 1, 0.9, 2, rows=(4, 8), columns=(2, 10))
    found = instances(*logits, (64, 64), (64, 64), (64, 64), least_score=0.5)
    assert found.classes.tolist() == [2]
    # A mask of +-40 crosses zero halfway between two of its cells: at the rectangle's edge, times four.
    assert found.boxes.tolist() == [[8, 16, 40, 32]]
    logits_there = enlarged(logits[1][1])
    np.testing.assert_array_equal(found.masks[0], logits_there > 0)
    inside = 1 / (1 + np.exp(-logits_there[found.masks[0]]))
    np.testing.assert_allclose(found.scores, [0.9 * inside.mean()], rtol=1e-5)


def enlarged(mask: torch.Tensor, times: int = 4) -> np.ndarray:
    """Bilinear enlargement by a second way: NumPy's interpolation along each axis."""
    side = len(mask)
    at = (np.arange(side * times) + 0.5) / times - 0.5
    rows = np.stack([np.interp(at, np.arange(side), column) for column in mask.numpy().T], 1)
    return np.stack([np.interp(at, np.arange(side), row) for row in rows])


def test_padding_is_cut_before_the_mask_goes_to_the_pictures_size():
    logits = planted()
    plant(logits, 0, 0.8, 1, rows=(0, 16), columns=(0, 8))
    # The network saw 64 x 64, of which 64 x 48 are the picture, which is 128 x 96.
    found = instances(*logits, (64, 64), (64, 48), (128, 96), least_score=0.5)
    assert found.boxes.tolist() == [[0, 0, 64, 128]]
    assert found.masks.shape == (1, 128, 96)


def test_a_mask_is_enlarged_as_logits_and_only_then_cut_at_zero():
    logits = planted(side=2)
    plant(logits, 0, 0.8, 1, rows=(0, 2), columns=(0, 1), level=3 * FAR)
    # From +120 to -40 between centres at 2 and 6 of 8 pixels: zero is at 5, so the pixels 0 to 4 hold; a mask
    # cut at zero first would end at 4.
    assert instances(*logits, (8, 8), (8, 8), (8, 8), 0.1).boxes.tolist() == [[0, 0, 5, 8]]


def test_one_query_may_be_two_classes_and_overlapping_masks_stay_whole():
    logits = planted()
    plant(logits, 0, 0.6, 0, rows=(0, 8), columns=(0, 8))
    logits[0][0] = torch.log(torch.tensor([0.55, 0.40, 0.01, 0.02, 0.02]))
    plant(logits, 1, 0.9, 3, rows=(0, 8), columns=(0, 8))
    found = instances(*logits, (64, 64), (64, 64), (64, 64), least_score=0.3)
    assert found.classes.tolist() == [3, 0, 1]
    assert (found.masks == found.masks[0]).all()


def test_no_more_than_a_hundred_pairs_are_reported():
    class_logits, mask_logits = torch.zeros(60, 5), torch.full((60, 8, 8), FAR)
    assert len(instances(class_logits, mask_logits, (8, 8), (8, 8), (8, 8)).scores) == 100


def test_a_mask_of_nothing_scores_nothing_and_has_no_box():
    logits = planted()
    plant(logits, 0, 0.9, 0, rows=(0, 0), columns=(0, 0))
    found = instances(*logits, (64, 64), (64, 64), (64, 64))
    assert found.scores[0] == 0
    assert found.boxes[0].tolist() == [0, 0, 0, 0]


def test_nothing_above_the_least_score_is_nothing():
    found = instances(*planted(), (64, 64), (64, 64), (40, 30), least_score=0.3)
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 40, 30)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (800, 800)),
        ((1024, 1024), (800, 800)),
        ((480, 640), (800, 1067)),  # 640 x 800/480 = 1066.7
        ((300, 900), (444, 1333)),  # the long side is what stops it: 300 x 1333/900 = 444.3
    ],
)
def test_the_network_sees_a_picture_within_1333_by_800(size, expected):
    assert scaled_size(*size) == expected


def test_a_picture_is_scaled_normalised_and_padded_with_zeros_to_a_multiple_of_32():
    pixels, content = network_input(Image.new("RGB", (640, 480), (200, 100, 50)))
    assert content == (800, 1067)
    assert pixels.shape == (3, 800, 1088)
    expected = (np.array([200, 100, 50]) - MEAN) / STD
    np.testing.assert_allclose(pixels[:, 799, 1066].numpy(), expected, rtol=1e-5)
    assert (pixels[:, :, 1067:] == 0).all()


def test_boxes_are_tight_and_exclusive():
    masks = np.zeros((2, 6, 7), bool)
    masks[0, 2:4, 1:6] = True
    assert tight_boxes(masks).tolist() == [[1, 2, 6, 4], [0, 0, 0, 0]]


def test_no_object_is_no_class_however_sure_and_however_clear_its_mask():
    logits = planted()
    logits[1][:] = FAR
    assert len(instances(*logits, (64, 64), (64, 64), (64, 64), least_score=0.3).scores) == 0


def test_a_scaled_picture_has_whole_levels_as_opencv_has_them():
    levels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    pixels, _ = network_input(Image.fromarray(levels))
    found = pixels[:, :800, :1067].numpy() * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
    np.testing.assert_allclose(found, found.round(), atol=1e-3)
