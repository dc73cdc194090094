"""Embedders and the colour classifier end to end on small random CLIPs and SigLIPs saved to folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.judges.small_models import save_clip, save_siglip
from unimm.evaluation.judges import ColorClassifier, Embedder
from unimm.evaluation.judges.clip import COLORS, MEAN, STD, ClipColors, ContrastiveEmbedder, clip_pixels, crop


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("models") / "CLIP-Small")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    return save_siglip(tmp_path_factory.mktemp("models") / "siglip")


def noise(width=40, height=30, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_an_embedder_gives_rows_of_length_one_whatever_the_batch(kind, request):
    folder = request.getfixturevalue(kind)
    embedder = ContrastiveEmbedder(folder, batch_size=2)
    assert isinstance(embedder, Embedder)
    images, texts = [noise(seed=i) for i in range(3)], ["a red cube", "two cats and a dog", "hi"]
    for rows, one in (
        (embedder.images(images), embedder.images(images[2:])),
        (embedder.texts(texts), embedder.texts(texts[2:])),
    ):
        assert rows.shape == (3, 16)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(rows[2], one[0], atol=1e-5)
        assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_clip_embeds_as_transformers_own_whole_model_does(clip):
    from transformers import AutoProcessor, CLIPModel

    embedder, model = ContrastiveEmbedder(clip), CLIPModel.from_pretrained(clip)
    processor = AutoProcessor.from_pretrained(clip, backend="pil")
    given = processor(text=["a red cube", "hi"], images=[noise()], padding=True, return_tensors="pt")
    with torch.no_grad():
        seen = model(**given)
    np.testing.assert_allclose(embedder.images([noise()]), unit(seen.image_embeds.numpy()), atol=1e-5)
    np.testing.assert_allclose(
        embedder.texts(["a red cube", "hi"]), unit(seen.text_embeds.numpy()), atol=1e-5
    )


def test_siglip_is_given_full_rows_of_lower_case_without_a_mask(siglip):
    from transformers import AutoTokenizer, SiglipModel

    embedder, model = ContrastiveEmbedder(siglip), SiglipModel.from_pretrained(siglip)
    ids = AutoTokenizer.from_pretrained(siglip)(["red"])["input_ids"][0]
    row = torch.tensor([ids + [0] * (64 - len(ids))])
    with torch.no_grad():
        expected = model.text_model(input_ids=row).pooler_output
    np.testing.assert_allclose(embedder.texts(["RED"]), unit(expected.numpy()), atol=1e-5)


def test_texts_that_are_cut_are_counted(clip):
    embedder = ContrastiveEmbedder(clip)
    embedder.texts(["short", "x" * 75, "x" * 76])  # 75 letters and the two marks fill the 77 places
    assert embedder.cut == 1


def test_nothing_to_embed_is_an_error(clip):
    with pytest.raises(ValueError, match="got none"):
        ContrastiveEmbedder(clip).images([])


def test_the_colour_is_the_nearest_of_ten_heads(clip):
    """The same sums by hand: normalise, mean of three sentences, normalise, largest cosine."""
    judge = ClipColors(clip)
    assert isinstance(judge, ColorClassifier)
    assert judge.name == "clip-small"
    image, masks = noise(), np.zeros((3, 30, 40), bool)
    masks[0, 3:20, 5:30], masks[1, 10:30, 0:9], masks[2, 0:5, 0:40] = True, True, True
    boxes = np.array([[5, 3, 30, 20], [0, 10, 9, 30], [0, 0, 40, 5]], float)
    embedder = ContrastiveEmbedder(clip)
    scores = []
    for color in COLORS:
        said = [
            f"a photo of a {color} car",
            f"a photo of a {color}-colored car",
            f"a photo of a {color} object",
        ]
        head = unit(np.mean([embedder.texts([text])[0] for text in said], axis=0))
        pixels = [clip_pixels(crop(image, box, mask), 32) for box, mask in zip(boxes, masks, strict=True)]
        scores.append(embedder.embed(torch.stack(pixels)).numpy() @ head)
    expected = [COLORS[i] for i in np.argmax(scores, axis=0)]
    assert judge.colors(image, boxes, masks, "car") == expected
    assert judge.colors(image, boxes[:0], masks[:0], "car") == []


def test_the_crop_is_grey_around_the_thing():
    image, mask = Image.new("RGB", (6, 4), (255, 0, 0)), np.zeros((4, 6), bool)
    mask[1, 2] = True
    cut = np.asarray(crop(image, np.array([1.2, 0.6, 4.4, 3.5]), mask))
    assert cut.shape == (3, 3, 3)  # x 1..4, y 1..4: Python rounds 3.5 to 4
    assert cut[0, 1].tolist() == [255, 0, 0]
    assert (cut.reshape(-1, 3) == 0x99).all(1).sum() == 8


@pytest.mark.parametrize(
    ("box", "shape", "said"), [([2, 1, 2, 3], (4, 6), "x1 < x2"), ([0, 0, 2, 2], (6, 4), "expected 4 x 6")]
)
def test_an_empty_box_or_a_foreign_mask_is_refused(box, shape, said):
    with pytest.raises(ValueError, match=said):
        crop(Image.new("RGB", (6, 4)), np.array(box, float), np.ones(shape, bool))


def test_pixels_are_scaled_to_the_short_side_and_cut_in_the_middle():
    picture = np.zeros((8, 24, 3), np.uint8)
    picture[:, 8:16] = 255  # the middle third is what remains
    pixels = clip_pixels(Image.fromarray(picture), 8)
    assert pixels.shape == (3, 8, 8)
    white = (1 - np.array(MEAN)) / STD
    np.testing.assert_allclose(pixels.numpy(), np.broadcast_to(white[:, None, None], (3, 8, 8)), rtol=1e-5)


def test_pixels_of_clip_are_those_of_transformers_own_processor_where_both_crop_alike():
    from transformers import CLIPImageProcessor

    image = noise(64, 32)
    own = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})(image)
    np.testing.assert_allclose(clip_pixels(image, 32), own["pixel_values"][0], atol=1e-5)


def test_another_activation_than_openais_is_refused(tmp_path):
    with pytest.raises(ValueError, match="quick_gelu.*got gelu"):
        ClipColors(save_clip(tmp_path / "clip", activation="gelu"))


def test_a_siglip_is_no_colour_classifier(siglip):
    with pytest.raises(ValueError, match="model_type clip, got 'siglip'"):
        ClipColors(siglip)


def test_a_colour_whose_three_sentences_disagree_is_not_held_back(clip, monkeypatch):
    """Red's sentences spread around the picture's direction, the others agree on one that is a little off."""
    judge, sentences = ClipColors(clip), np.zeros((30, 4), np.float32)
    sentences[3:] = unit(np.array([0.9, np.sqrt(1 - 0.81), 0, 0]))
    sentences[:3] = unit(np.array([[1.0, 0, 1, 0], [1, 0, -1, 0], [1, 0, 0, 0]]))  # their mean is 0.8 long
    monkeypatch.setattr(judge.embedder, "texts", lambda texts: sentences)
    monkeypatch.setattr(judge.embedder, "embed", lambda pixels: torch.eye(4)[:1])
    mask = np.ones((1, 30, 40), bool)
    assert judge.colors(noise(), np.array([[0, 0, 40, 30.0]]), mask, "car") == ["red"]
