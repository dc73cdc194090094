"""lmms-eval itself, from its command line, with tiny on tasks made here.

UNIMM_LMMS_EVAL is the folder of an environment that tools.lmms_eval_env made.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unimm import UniMM
from unimm.world.language import phrase
from unimm.world.prompts import prompts
from unimm.world.questions import ask
from unimm.world.reader import read
from unimm.world.render import render
from unimm.world.scene import sample_scene
from unimm.world.spec import holds

PYTHON = Path(os.environ["UNIMM_LMMS_EVAL"]).absolute() / "bin" / "python"
SEEING, DRAWING = 24, 6

TASK = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_visual: !function looks.{visual}
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  max_new_tokens: 16
  temperature: 0
  do_sample: false
{scoring}
metadata:
  - version: 1
"""
EXACT = """\
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
DRAWN = """\
process_results: !function looks.drawn
metric_list:
  - metric: pictures
    aggregation: mean
    higher_is_better: true
"""
LOOKS = """\
import json

from PIL import Image


def picture(doc):
    return [Image.open(doc["picture"]).convert("RGB")]


def nothing(doc):
    return []


def drawn(doc, results):
    reply = json.loads(results[0])
    return {"pictures": float([Image.open(path).size for path in reply["images"]] == [(80, 80)])}
"""


def write_task(folder: Path, name: str, rows: list[dict], visual: str, scoring: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "looks.py").write_text(LOOKS)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = TASK.format(task=name, file=file, visual=visual, scoring=scoring)
    (folder / f"{name}.yaml").write_text(text)


def run(folder: Path, task: str, model_args: str) -> tuple[dict, list[dict]]:
    """Run lmms-eval; return a task's results and its samples."""
    out = folder / "out"
    command = [
        PYTHON, "-m", "lmms_eval", "--model", "unimm", "--model_args", model_args, "--device", "cpu",
        "--tasks", task, "--include_path", folder, "--batch_size", "8", "--output_path", out, "--log_samples",
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **offline}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (results,) = out.rglob("*_results.json")
    (samples,) = out.rglob(f"*_samples_{task}.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    return json.loads(results.read_text())["results"][task], sorted(rows, key=lambda row: row["doc_id"])


def test_the_harness_scores_what_the_model_answers(tmp_path):
    rng, rows = np.random.default_rng(0), []
    (tmp_path / "task").mkdir()
    for index in range(SEEING):
        scene = sample_scene(rng)
        path = tmp_path / "task" / f"{index}.png"
        Image.fromarray(render(scene, 80)).save(path)
        question = ask(scene, rng)
        rows.append({"picture": str(path), "text": question.text, "answer": question.answer})
    write_task(tmp_path / "task", "unimm_seeing", rows, "picture", EXACT)
    found, samples = run(tmp_path / "task", "unimm_seeing", "pretrained=tiny")
    pictures = []
    for row in rows:
        with Image.open(row["picture"]) as image:
            pictures.append(image.convert("RGB"))
    own = (
        UniMM.from_pretrained("tiny")
        .eval()
        .answer(pictures, [row["text"] for row in rows], max_new_tokens=16)
    )
    assert [sample["filtered_resps"] for sample in samples] == own
    right = np.mean([said == row["answer"] for said, row in zip(own, rows, strict=True)])
    assert found["exact_match,none"] == pytest.approx(right)
    assert right > 0.8


def test_a_generation_task_reads_the_pictures_that_the_model_drew(tmp_path):
    asked = prompts("held_in", 1)[:DRAWING]
    rng = np.random.default_rng(0)
    rows = [{"text": phrase(prompt.spec, rng), "answer": ""} for prompt in asked]
    write_task(tmp_path / "task", "unimm_drawing", rows, "nothing", DRAWN)
    args = "pretrained=tiny,mode=draw,num_inference_steps=20,seed=1"
    found, samples = run(tmp_path / "task", "unimm_drawing", args)
    assert found["pictures,none"] == 1
    paths = [json.loads(sample["filtered_resps"])["images"][0] for sample in samples]
    obeyed = []
    for path, prompt in zip(paths, asked, strict=True):
        with Image.open(tmp_path / "task" / path) as image:
            obeyed.append(holds(prompt.spec, read(image)))
    assert sum(obeyed) >= DRAWING / 2
