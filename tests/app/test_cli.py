"""The commands do what they say, and tell a user's mistake in one line with exit code 2."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from unimm import UniMM
from unimm.app import cli, exits, files
from unimm.model.verifying import VERIFIERS


@pytest.fixture
def unimm(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder; return exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = exits.run(cli.app, [str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (20, 20), "red").save(path)
    return path


def test_generate_draws_a_picture_and_names_it_after_the_prompt(unimm, model_folder, tmp_path):
    code, out, _ = unimm("generate", "a red star", "--steps", 2, "--model", model_folder)
    assert code == 0
    with Image.open(tmp_path / "a-red-star.png") as drawn:
        assert drawn.size == (32, 32)
    assert out.startswith("a-red-star.png  seed 0")
    assert "score" not in out


def test_generate_keeps_the_best_and_tells_their_scores(unimm, model_folder, tmp_path):
    arguments = ("--best-of", 3, "--num", 2, "--steps", 2, "--out", "star.jpg", "--model", model_folder)
    code, out, _ = unimm("generate", "a star", *arguments)
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["star-1.jpg", "star-2.jpg"]
    scores = [float(line.split("score ")[1].split(",")[0]) for line in out.splitlines()]
    assert scores == sorted(scores, reverse=True)


def test_a_drawing_stops_early_and_tells_how_many_it_took(unimm, model_folder):
    options = ("--best-of", 8, "--verifier", "p_yes", "--steps", 2, "--out", "x.png", "--model", model_folder)
    ends = {
        margin: unimm("generate", "a star", *options, "--stop-margin", margin)[1] for margin in (1e-9, 1e9)
    }
    assert "of 2 drawn" in ends[1e-9]
    assert "of 8 drawn" in ends[1e9]


def test_a_probability_ends_the_drawing_of_a_calibrated_model(unimm):
    options = ("--best-of", 4, "--steps", 2, "--out", "x.png", "--stop-probability", 1e-6)
    code, out, err = unimm("generate", "a red star", *options)
    assert code == 0, err
    assert "of 2 drawn, right with probability 0." in out


def test_a_verifier_scores_where_there_is_no_choice_too(unimm, model_folder):
    options = ("--num", 2, "--steps", 2, "--out", "x.png", "--verifier", "p_yes", "--model", model_folder)
    _, out, _ = unimm("generate", "a star", *options)
    model = UniMM.from_pretrained(model_folder).eval()
    scores = model.generate_image(
        "a star", num_inference_steps=2, num_images_per_prompt=2, seed=0, verifier="p_yes"
    ).scores
    assert [line.split("score ")[1] for line in out.splitlines()] == [f"{s:.3f}, of 2 drawn" for s in scores]


def test_candidates_without_a_score_are_told(unimm, model_folder, monkeypatch):
    broken = lambda model, prompts, spare: (lambda z, owners: [float("nan"), *range(len(z) - 1)], 64)  # noqa: E731
    monkeypatch.setitem(VERIFIERS, "broken", broken)
    options = ("--best-of", 3, "--verifier", "broken", "--seed", 7, "--steps", 2, "--out", "x.png")
    code, out, _ = unimm("generate", "a star", *options, "--model", model_folder)
    assert code == 0
    assert "seed 9  score 1.000, of 3 drawn" in out
    assert out.splitlines()[-1] == "without a score, and so ranked last: seed 7"


def test_a_seed_draws_its_picture_again(unimm, model_folder, tmp_path):
    for name, seed in (("a.png", 5), ("b.png", 5), ("c.png", 6)):
        unimm("generate", "a star", "--steps", 2, "--seed", seed, "--out", name, "--model", model_folder)
    first, again, other = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert first == again
    assert first != other


def drawn(unimm, tmp_path, model_folder, *options):
    """Return the bytes of the picture that options make of the one prompt and seed."""
    code, _, err = unimm(
        "generate", "a star", "--steps", 3, "--out", "x.png", "--model", model_folder, *options
    )
    assert code == 0, err
    return (tmp_path / "x.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--solver", "heun"), {"solver": "heun"}),
        (("--guidance", 3), {"guidance_scale": 3.0}),
        (
            ("--guidance", 3, "--interval", 0.1, 0.7),
            {"guidance_scale": 3.0, "guidance_interval": (0.1, 0.7)},
        ),
        (("--guidance", 3, "--negative", "a moon"), {"guidance_scale": 3.0, "negative_prompt": "a moon"}),
        (("--profile", "reference"), {"profile": "reference"}),
        (("--dtype", "bfloat16"), {"dtype": torch.bfloat16}),
    ],
    ids=["solver", "guidance", "interval", "negative", "profile", "dtype"],
)
def test_options_reach_the_drawing(unimm, tmp_path, model_folder, options, named):
    made = {name: named.pop(name) for name in ("profile", "dtype") if name in named}
    model = UniMM.from_pretrained(model_folder, **made).eval()
    expected = model.generate_image("a star", num_inference_steps=3, seed=0, **named).images[0]
    assert drawn(unimm, tmp_path, model_folder, *options) == files.encode(expected)
    assert drawn(unimm, tmp_path, model_folder) != files.encode(expected), "the option changes nothing"


def test_compile_compiles_what_draws(unimm, tmp_path, model_folder, monkeypatch):
    called = []
    monkeypatch.setattr(UniMM, "compile_drawing", lambda self, **options: called.append(self))
    plain = drawn(unimm, tmp_path, model_folder)
    assert called == []
    assert drawn(unimm, tmp_path, model_folder, "--compile") == plain
    assert len(called) == 1


def test_latents_are_saved_beside_the_pictures_and_serve_as_context(unimm, tmp_path, model_folder, picture):
    options = ("--steps", 2, "--num", 2, "--out", "star.png", "--save-latents", "--model", model_folder)
    code, out, _ = unimm("generate", "a star", *options)
    assert code == 0
    assert "latents star-2.safetensors" in out.splitlines()[1]
    model = UniMM.from_pretrained(model_folder).eval()
    latents = model.generate_image("a star", num_inference_steps=2, num_images_per_prompt=2, seed=0).latents
    assert torch.equal(files.read_latents(tmp_path / "star-2.safetensors"), latents[1])
    with safe_open(tmp_path / "star-2.safetensors", "pt") as file:
        assert file.metadata() == {"prompt": "a star", "seed": "1"}
    context = ("--image", tmp_path / "star-2.safetensors", "--image", picture)
    with Image.open(picture) as shown:
        expected = model.generate_image("a star", [latents[1], shown], num_inference_steps=3, seed=0).images
    assert drawn(unimm, tmp_path, model_folder, *context) == files.encode(expected[0])
    code, out, _ = unimm("caption", "star-2.safetensors", "--model", model_folder)
    assert (code, out.rstrip("\n")) == (0, model.caption(latents[1]))


def test_several_pictures_are_described_each_behind_its_name(unimm, model_folder, random_model, picture):
    code, out, _ = unimm("caption", picture, picture, "--model", model_folder)
    assert code == 0
    text = random_model.caption(picture)
    assert out.rstrip("\n") == "\n".join([f"{picture}: {text}"] * 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--solver", "heum"), ("solver", "did you mean 'heun'")),
        (("--dtype", "float8"), ("--dtype", "float32, bfloat16, float16")),
        (("--profile", "referense"), ("profile", "did you mean 'reference'")),
        (("--negative", "a moon"), ("negative_prompt", "guidance_scale")),
        (("--guidance", 2, "--interval", 0.9, 0.1), ("--interval (guidance_interval): expected",)),
        (("--profile", "reference", "--steps", 2), ("--steps (num_inference_steps): the published",)),
        (("--profile", "reference", "--steps=1001"), ("--steps (num_inference_steps): the published",)),
        (("--stop-margin", 1), ("stop_margin", "best_of")),
        (("--best-of", 2, "--stop-margin", 0), ("stop_margin", "above 0")),
        (("--best-of", 2, "--stop-margin", "nan"), ("stop_margin", "above 0")),
        (("--best-of", 2, "--stop-margin", "far"), ("--stop-margin", "valid number")),
        (("--best-of", 2, "--stop-probability", 1.5), ("stop_probability", "up to 1")),
        (("--best-of", 2, "--stop-probability", 0.5), ("stop_probability", "calibrated")),
        (("--best-of", 2, "--stop-margin", 1, "--stop-probability", 0.5), ("one of them",)),
        (("--verifier", "p_yess"), ("verifier", "did you mean 'p_yes'")),
        (("--image", "missing.png"), ("missing.png",)),
        (("--image", "missing.safetensors"), ("missing.safetensors",)),
    ],
)
def test_an_option_that_cannot_be_is_refused(unimm, tmp_path, model_folder, options, words):
    refused(unimm("generate", "a star", "--model", model_folder, *options), *words)
    assert list(tmp_path.iterdir()) == []


def test_caption_and_answer_print_words_alone(unimm, model_folder, random_model, picture):
    code, out, err = unimm("caption", picture, "--model", model_folder)
    assert (code, err) == (0, "")
    assert out.rstrip("\n") == random_model.caption(picture)
    code, out, _ = unimm("answer", picture, "What color is it?", "--model", model_folder)
    assert code == 0
    assert out.rstrip("\n") == random_model.answer(picture, "What color is it?")


def refused(result, *words: str) -> None:
    """Assert that a run failed as a user's mistake does."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_an_empty_prompt_is_refused(unimm, model_folder, tmp_path):
    refused(unimm("generate", "  ", "--model", model_folder, "--out", "x.png"), "prompt")
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_longer_than_the_context_is_refused(unimm, model_folder, tmp_path):
    result = unimm("generate", "star " * 3000, "--model", model_folder, "--out", "x.png")
    refused(result, "expected at most 2048", "got")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--best-of", "--num", "--steps"])
def test_a_count_below_one_is_refused(unimm, option):
    refused(unimm("generate", "a star", option, 0), option, "expected 1 or more", "got 0")


def test_more_pictures_than_candidates_are_refused(unimm, model_folder):
    refused(
        unimm("generate", "a star", "--num", 3, "--best-of", 2, "--model", model_folder), "best_of", "got 2"
    )


def test_an_unknown_model_gets_a_suggestion(unimm):
    refused(unimm("generate", "a star", "--model", "tinny"), "tinny", "did you mean 'tiny'")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused(unimm, model_folder, device):
    refused(
        unimm("generate", "a star", "--device", device, "--model", model_folder), "--device", "cpu", device
    )


def test_an_unknown_verifier_gets_a_suggestion(unimm, model_folder):
    result = unimm("generate", "a star", "--best-of", 2, "--verifier", "answer", "--model", model_folder)
    refused(result, "answer_logits")


def test_an_unknown_command_gets_a_suggestion(unimm):
    refused(unimm("genrate", "a star"), "Did you mean 'generate'")


def test_a_place_that_cannot_be_written_is_refused_before_drawing(unimm):
    refused(
        unimm("generate", "a star", "--out", "nowhere/star.png", "--model", "never loaded"),
        "no folder 'nowhere'",
    )
    refused(unimm("generate", "a star", "--out", "star.doc", "--model", "never loaded"), "star.doc")


def test_a_full_disk_leaves_nothing_half_written(unimm, model_folder, tmp_path, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(files.Path, "write_bytes", full)
    result = unimm("generate", "a star", "--steps", 1, "--out", "star.png", "--model", model_folder)
    assert result[0] == 2
    assert "No space left on device" in result[2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("caption",), ("answer",)])
def test_what_is_no_picture_is_refused_before_any_model_is_loaded(unimm, tmp_path, picture, command):
    question = ("What is it?",) if command == ("answer",) else ()
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:50])
    for path in (text, cut, tmp_path / "missing.png", tmp_path):
        refused(unimm(*command, path, *question, "--model", "never loaded"), path.name)


def test_an_enormous_picture_is_refused(unimm, tmp_path):
    path = tmp_path / "huge.png"
    Image.new("1", (10_000, 10_000)).save(path)
    refused(unimm("caption", path, "--model", "never loaded"), "huge.png", "64")


@pytest.mark.parametrize("fault", ["missing", "cut"])
def test_a_damaged_folder_is_refused(unimm, model_folder, picture, tmp_path, fault):
    folder = tmp_path / "damaged"
    shutil.copytree(model_folder, folder)
    weights = next(folder.glob("*.safetensors"))
    if fault == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-100])
    refused(unimm("caption", picture, "--model", folder), "damaged")


def test_help_lists_every_command(unimm):
    code, out, _ = unimm("--help")
    assert code == 0
    for command in ("generate", "caption", "answer", "chat", "demo", "train", "eval"):
        assert f" {command} " in out


def test_main_reads_debug_wherever_it_stands(tmp_path):
    with pytest.raises(FileNotFoundError):
        cli.main(["caption", str(tmp_path / "missing.png"), "--debug"])


def test_train_lists_its_stages(unimm):
    code, out, _ = unimm("train")
    assert code == 0
    assert "encoder" in out.split()


def test_train_hands_the_recipe_and_its_changes_to_the_stage(unimm, monkeypatch):
    given = []
    monkeypatch.setattr(
        "unimm.training.stages.main", lambda stage, arguments: given.append((stage, arguments))
    )
    assert unimm("train", "encoder", "recipe.yaml", "train.num_steps=2", "optim.lr=-1")[0] == 0
    assert given == [("encoder", ["recipe.yaml", "train.num_steps=2", "optim.lr=-1"])]


def test_an_unknown_stage_gets_a_suggestion(unimm):
    refused(unimm("train", "encodr", "recipe.yaml"), "encodr", "did you mean 'encoder'")


def test_a_missing_recipe_is_refused(unimm):
    refused(unimm("train", "encoder", "missing.yaml"), "missing.yaml")
