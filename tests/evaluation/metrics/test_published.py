"""Plain names are for the published weights; the network is built once, with random ones taken for these."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from unimm.evaluation.metrics import Backbone, published

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(theirs, "load_state_dict_from_url", lambda url, progress: None)
        network = theirs.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])
    torch.save(network.state_dict(), path)
    return path, network


def test_inception_gives_features_and_logits_of_its_file(weights, monkeypatch):
    path, network = weights
    monkeypatch.setattr(published, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    backbone = published.inception(path)
    features, logits = network(torch.from_numpy(PICTURES).permute(0, 3, 1, 2))
    np.testing.assert_allclose(backbone.features(PICTURES), features.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(backbone.logits(PICTURES), logits.numpy(), rtol=1e-5, atol=1e-6)
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    assert [backbone.key(name) for name in ("frechet", "inception_score", "recall")] == [
        "fid",
        "inception_score",
        "recall@inception-2015-12-05",
    ]


def test_another_file_is_refused_and_the_right_one_named(weights, tmp_path):
    with pytest.raises(
        ValueError, match=r"need weights-inception-2015-12-05-6726825d\.pth.*begins with 67268"
    ):
        published.inception(weights[0])
    with pytest.raises(FileNotFoundError, match=r"6726825d\.pth of github\.com/toshas.*no file at"):
        published.inception(tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match=r"needs torchvision's vgg16-397923af\.pth.*no file at"):
        published.lpips(tmp_path / "none.pth")


def test_another_network_gives_another_metric():
    tiny = Backbone("tiny", lambda pictures: pictures)
    assert tiny.key("frechet") == "frechet@tiny"
    assert tiny.key("inception_score") == "inception_score@tiny"
    assert Backbone("inception", lambda pictures: pictures).key("frechet") == "frechet@inception"
