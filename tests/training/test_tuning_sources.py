"""Tuning on data sets that people have: an adapter learns from rows of files."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from tests.model.small import small_model
from tests.training.test_tuning import adapted, finish, run_of
from unimm.data.talks import SourceSettings
from unimm.model import UniMM
from unimm.model.adapters import adapter_parameters
from unimm.training.finetune import FinetuneRecipe, FinetuneStage
from unimm.training.log import read_metrics
from unimm.training.world_rows import TalkData


def requests(folder):
    """Return a file of requests to draw, with the pictures to be drawn."""
    rng, rows = np.random.default_rng(0), []
    for number in range(8):
        picture = rng.integers(0, 256, (14, 18, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
        said = [{"from": "human", "value": "Draw a star"}, {"from": "gpt", "value": "<image>"}]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": said})
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


def test_an_adapter_learns_from_a_data_set(tmp_path):
    small_model().save_pretrained(tmp_path / "base")
    path = requests(tmp_path)
    source = SourceSettings(
        str(path), format="scale_rae", images=(str(tmp_path),), options={"cache": str(tmp_path)}
    )
    data = TalkData(sources=(source,), row_length=128)
    recipe = FinetuneRecipe(run_of(tmp_path / "run", num_steps=8), adapted(tmp_path / "base"), data)
    folder = finish(FinetuneStage(recipe), recipe)
    flows = [record["flow"] for record in read_metrics(tmp_path / "run")]
    assert flows[-1] < flows[0]
    model = UniMM.from_pretrained(tmp_path / "base", adapter=folder)
    assert any(x.abs().sum() > 0 for name, x in adapter_parameters(model).items() if "lora_B" in name)
