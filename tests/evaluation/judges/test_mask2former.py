"""The detector end to end on a small random Mask2Former saved to a folder."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from unimm.evaluation.judges import Detector
from unimm.evaluation.judges.instances import instances, network_input
from unimm.evaluation.judges.mask2former import COCO, GENEVAL, Mask2FormerDetector, class_names

NAMES = dict(enumerate(COCO))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    torch.manual_seed(0)
    backbone = SwinConfig(
        image_size=64, patch_size=4, embed_dim=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, num_queries=5,
        encoder_feedforward_dim=8, dim_feedforward=8, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, id2label=NAMES, label2id={name: i for i, name in NAMES.items()},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "Mask2Former-Small"
    Mask2FormerForUniversalSegmentation(config).save_pretrained(path)
    return path


def picture(width=96, height=64, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def small_input(monkeypatch):
    """A tenth of GenEval's input size keeps the tests short."""
    monkeypatch.setattr("unimm.evaluation.judges.instances.LONGEST", 133)
    monkeypatch.setattr("unimm.evaluation.judges.instances.SHORTEST", 80)


def test_a_saved_model_finds_what_its_logits_say(folder):
    detector = Mask2FormerDetector(folder, least_score=0.0)
    assert isinstance(detector, Detector)
    assert detector.name == "mask2former-small"
    image = picture()
    (found,) = detector.detect([image])
    pixels, content = network_input(image)
    with torch.no_grad():
        seen = detector.model(pixels[None])
    assert seen.class_queries_logits.shape == (1, 5, 81)
    own = instances(
        seen.class_queries_logits[0], seen.masks_queries_logits[0], pixels.shape[-2:], content, (64, 96)
    )
    np.testing.assert_array_equal(found.boxes, own.boxes)
    np.testing.assert_array_equal(found.scores, own.scores)
    assert found.labels == tuple(GENEVAL[i] for i in own.classes)
    assert found.masks.shape == (len(found), 64, 96)
    assert len(found) == 100


def test_pictures_of_any_size_go_together_and_keep_their_order(folder):
    detector = Mask2FormerDetector(folder, least_score=0.0, batch_size=2)
    images = [picture(seed=1), picture(seed=2), picture(50, 80, seed=3), picture(seed=4)]
    together = detector.detect(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
        assert found.masks.shape[1:] == (image.height, image.width)


def test_weak_finds_are_left_out_and_the_others_stay_as_they_are(folder):
    every = Mask2FormerDetector(folder, least_score=0.0).detect([picture()])[0]
    least = float(np.median(every.scores))
    strong = Mask2FormerDetector(folder, least_score=least).detect([picture()])[0]
    np.testing.assert_array_equal(strong.scores, every.scores[every.scores >= least])


def test_geneval_renames_three_of_cocos_things():
    renamed = {name: GENEVAL[i] for i, name in enumerate(COCO) if GENEVAL[i] != name}
    assert renamed == {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}
    assert len(COCO) == len(set(GENEVAL)) == 80


def test_other_spellings_of_the_same_classes_are_known():
    voc = {**NAMES, 3: "motorbike", 4: "aeroplane", 57: "sofa", 58: "pottedplant", 62: "tvmonitor"}
    assert class_names(voc) == GENEVAL


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({**NAMES, 1: "car", 2: "bicycle"}, "1 is 'car', not 'bicycle'"),
        ({i: name for i, name in NAMES.items() if i < 79}, "got 79 classes"),
        ({i: f"LABEL_{i}" for i in range(80)}, "0 is 'label 0'|LABEL_0"),
    ],
)
def test_a_model_of_other_classes_is_refused(labels, said):
    with pytest.raises(ValueError, match=said):
        class_names(labels)


def test_names_may_be_given_as_a_file_and_must_be_as_many_as_classes(tmp_path):
    (tmp_path / "names.txt").write_text("circle\nsquare\n")
    assert class_names({0: "a", 1: "b"}, tmp_path / "names.txt") == ("circle", "square")
    with pytest.raises(ValueError, match="one per class, 3, got 2"):
        class_names({0: "a", 1: "b", 2: "c"}, tmp_path / "names.txt")
    with pytest.raises(FileNotFoundError, match="no file"):
        class_names(NAMES, tmp_path / "absent.txt")


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    removed = sorted(tensors)[0]
    del tensors[removed]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match=f"missing: {removed}"):
        Mask2FormerDetector(tmp_path)


def test_pickled_weights_are_not_read(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="safetensors"):
        Mask2FormerDetector(tmp_path)


def test_a_folder_of_another_model_is_refused(folder, tmp_path):
    values = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "model_type": "maskformer"}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="expected model_type mask2former, got 'maskformer'"):
        Mask2FormerDetector(tmp_path)
