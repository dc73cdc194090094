"""Adapters: nothing at first, the paper's formula afterwards; stored alone, and only for their own base."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.small import BODIES, small_model
from unimm.model import UniMM
from unimm.model.adapter_files import BASE, CONFIG, PREFIX, TENSORS, save_adapter
from unimm.model.adapters import (
    ROOMS,
    AdapterSettings,
    adapter_parameters,
    adapters_off,
    add_adapter,
    linear_layers,
    merge_adapter,
    remove_adapter,
)

ALL = AdapterSettings(tuple(ROOMS), rank=3, alpha=6.0)
DRAW = {"num_inference_steps": 2, "guidance_scale": 2.0, "seed": 1, "output_type": "latent"}


def drawn(model):
    return model.generate_image("two red circles", **DRAW).latents


def stirred(model, seed: int = 5):
    """Give the adapter weights that change something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def with_adapter(settings: AdapterSettings = ALL, **changes):
    model = small_model(**changes)
    add_adapter(model, settings)
    return stirred(model)


@pytest.fixture
def base(tmp_path):
    small_model().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_new_adapter_changes_nothing_and_alone_may_train():
    model = small_model()
    before, layers = drawn(model), linear_layers(model, ALL.rooms)
    add_adapter(model, ALL)
    assert torch.equal(drawn(model), before)
    assert not model.training
    training = {name for name, x in model.named_parameters() if x.requires_grad}
    assert training == {f"{name}.{part}.default.weight" for name in layers for part in ("lora_A", "lora_B")}


def test_an_adapted_layer_is_the_papers_formula():
    model = with_adapter(AdapterSettings(("dit",), rank=3, alpha=6.0))
    layer, x = model.dit.blocks[0].attention.qkv, torch.randn(2, 9, 16)
    a, b = (adapter_parameters(model)[f"dit.blocks.0.attention.qkv.lora_{m}.default.weight"] for m in "AB")
    base = layer.get_base_layer()
    expected = x @ base.weight.T + base.bias + 2.0 * (x @ a.T) @ b.T
    assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("body", ["lightning", *BODIES])
@pytest.mark.parametrize("room", ROOMS)
def test_each_room_of_each_body_takes_one(room, body):
    changes = {} if body == "lightning" else {"body": body, "dit": BODIES[body]}
    model = with_adapter(AdapterSettings((room,), rank=2), **changes)
    assert {name.split(".")[0] for name in adapter_parameters(model)} == {room}
    plain = small_model(**changes)
    assert len(adapter_parameters(model)) == 2 * len(linear_layers(plain, (room,)))
    if room != "projector":  # that one only sees
        assert not torch.allclose(drawn(model), drawn(plain))


def test_chosen_layers_alone_take_one():
    model = with_adapter(AdapterSettings(("llm", "dit"), layers=("q_proj", "qkv")))
    assert {name.split(".")[-4] for name in adapter_parameters(model)} == {"q_proj", "qkv"}


def test_off_is_the_base_and_on_again_is_the_adapter():
    model, before = with_adapter(), drawn(small_model())
    adapted = drawn(model)
    wanted = {name: x.requires_grad for name, x in model.named_parameters()}
    with adapters_off(model):
        assert torch.equal(drawn(model), before)
    with pytest.raises(ValueError, match="empty"), adapters_off(model):  # one that fails inside
        model.generate_image("")
    assert torch.equal(drawn(model), adapted)
    assert {name: x.requires_grad for name, x in model.named_parameters()} == wanted
    assert not torch.allclose(adapted, before)


def test_gradients_survive_a_reference_between_forward_and_backward():
    model = with_adapter(AdapterSettings(("connector",), rank=2))
    states = torch.randn(1, 9, 16)
    loss = model.connector(states).square().mean()
    with torch.no_grad(), adapters_off(model):
        model.connector(states)
    loss.backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in adapter_parameters(model).values())


def test_merging_gives_the_same_drawing_and_a_plain_model(tmp_path):
    model = with_adapter()
    adapted, names = drawn(model), set(small_model().state_dict())
    merge_adapter(model)
    assert torch.allclose(drawn(model), adapted, atol=1e-5)
    assert set(model.state_dict()) == names
    model.save_pretrained(tmp_path / "merged")
    assert torch.equal(drawn(UniMM.from_pretrained(tmp_path / "merged")), drawn(model))


def test_taken_out_the_model_is_as_it_was():
    model = with_adapter()
    remove_adapter(model)
    assert torch.equal(drawn(model), drawn(small_model()))
    add_adapter(model, ALL)  # and may have another


def test_an_adapter_comes_back_with_its_base(base, tmp_path):
    model = UniMM.from_pretrained(base)
    add_adapter(model, ALL)
    save_adapter(stirred(model), tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [BASE, CONFIG, TENSORS]
    loaded = UniMM.from_pretrained(base, adapter=tmp_path / "adapter")
    assert torch.equal(drawn(loaded), drawn(model))
    assert loaded.adapter == ALL
    assert not any(x.requires_grad for x in adapter_parameters(loaded).values())
    assert json.loads((tmp_path / "adapter" / CONFIG).read_text())["base_model_name_or_path"] == str(base)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks the old name
def test_peft_itself_opens_the_folder(base, tmp_path):
    import peft

    model = UniMM.from_pretrained(base)
    add_adapter(model, ALL)
    save_adapter(stirred(model), tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(UniMM.from_pretrained(base), str(tmp_path / "adapter"))
    assert torch.equal(drawn(theirs.get_base_model()), drawn(model))


def test_averages_are_stored_instead(base, tmp_path):
    model = stirred(with_adapter())
    state = {name: torch.full_like(x, 0.25) for name, x in adapter_parameters(model).items()}
    save_adapter(model, tmp_path / "a", state)
    assert all((x == 0.25).all() for x in load_file(tmp_path / "a" / TENSORS).values())
    with pytest.raises(ValueError, match="missing"):
        save_adapter(model, tmp_path / "b", {})


def test_an_adapter_of_other_weights_is_refused_and_both_are_named(base, tmp_path):
    model = UniMM.from_pretrained(base)
    add_adapter(model, ALL)
    save_adapter(model, tmp_path / "adapter")
    small_model(seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"expected its base, '.*base' .* got '.*other' "):
        UniMM.from_pretrained(tmp_path / "other", adapter=tmp_path / "adapter")


def test_an_adapter_of_another_dtype_of_the_same_weights_is_taken(tmp_path):
    small_model().save_pretrained(tmp_path / "base", dtype=torch.bfloat16)
    model = UniMM.from_pretrained(tmp_path / "base")
    add_adapter(model, ALL)
    save_adapter(stirred(model), tmp_path / "adapter")
    half = UniMM.from_pretrained(tmp_path / "base", dtype=torch.bfloat16, adapter=tmp_path / "adapter")
    assert half.dit.blocks[0].attention.qkv.lora_A.default.weight.dtype == torch.bfloat16


def test_a_base_is_known_again_by_what_no_quantisation_touches(base, tmp_path):
    model = UniMM.from_pretrained(base)
    add_adapter(model, ALL)
    save_adapter(model, tmp_path / "adapter")
    path = tmp_path / "adapter" / BASE
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "weights": None}))
    UniMM.from_pretrained(base, adapter=tmp_path / "adapter")
    path.write_text(json.dumps({**facts, "weights": None, "kept": "0" * 24}))
    with pytest.raises(ValueError, match="expected its base"):
        UniMM.from_pretrained(base, adapter=tmp_path / "adapter")


def damage(folder, file, **changes):
    path = folder / file
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(values))


def without_one(folder):
    state = load_file(folder / TENSORS)
    state.pop(next(iter(state)))
    save_file(state, folder / TENSORS)


def of_the_encoder(folder):
    state = {PREFIX + "encoder.layers.0.mlp.fc1.lora_A.weight": torch.zeros(3, 8)}
    save_file(state, folder / TENSORS)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: damage(f, CONFIG, peft_type="IA3"), "peft_type 'LORA', got 'IA3'"),
        (lambda f: damage(f, CONFIG, use_dora=True), "plain LoRA, got one with use_dora"),
        (lambda f: damage(f, CONFIG, r="3"), "expected numbers r"),
        (lambda f: damage(f, CONFIG, r=4), "misshapen"),
        (lambda f: damage(f, BASE, name=3), "expected name, weights and kept"),
        (lambda f: (f / CONFIG).write_text("{"), "expected JSON"),
        (lambda f: (f / TENSORS).write_bytes(b"\x80cut"), "cut short"),
        (without_one, "1 missing"),
        (of_the_encoder, "linear layers in llm, projector, connector, dit, got encoder"),
    ],
)
def test_a_damaged_adapter_is_refused_and_the_model_stays(base, tmp_path, spoil, said):
    folder, model = tmp_path / "adapter", UniMM.from_pretrained(base)
    add_adapter(model, ALL)
    save_adapter(model, folder)
    spoil(folder)
    fresh = UniMM.from_pretrained(base)
    with pytest.raises(ValueError, match=said):
        fresh.load_adapter(folder)
    assert fresh.adapter is None
    assert torch.equal(drawn(fresh), drawn(small_model()))


def test_an_adapter_that_names_no_base_is_taken_with_a_warning(base, tmp_path):
    model = UniMM.from_pretrained(base)
    add_adapter(model, ALL)
    save_adapter(stirred(model), tmp_path / "adapter")
    (tmp_path / "adapter" / BASE).unlink()
    with pytest.warns(UserWarning, match="which weights"):
        loaded = UniMM.from_pretrained(base, adapter=tmp_path / "adapter")
    assert torch.equal(drawn(loaded), drawn(model))


def test_what_contradicts_itself_is_refused(base, tmp_path):
    model = with_adapter()
    with pytest.raises(ValueError, match="has one already"):
        add_adapter(model, ALL)
    with pytest.raises(ValueError, match="has one already"):
        model.load_adapter(base)
    with pytest.raises(ValueError, match="without an adapter"):
        model.save_pretrained(tmp_path / "m")
    plain = small_model()
    for act in (merge_adapter, remove_adapter, lambda m: save_adapter(m, tmp_path / "a")):
        with pytest.raises(ValueError, match="this model has none"):
            act(plain)
    with pytest.raises(ValueError, match="this model has none"), adapters_off(plain):
        pass
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        plain.load_adapter(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="did you mean 'qkv'"):
        add_adapter(plain, AdapterSettings(layers=("qkw",)))
    save_adapter(model, tmp_path / "a")
    with pytest.raises(ValueError, match="holds an adapter"):
        UniMM.from_pretrained(tmp_path / "a")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rooms": ()}, "one room or more"),
        ({"rooms": ("dit", "dit")}, "each once"),
        ({"rooms": ("dita",)}, "did you mean 'dit'"),
        ({"rank": 0}, "rank: expected 1"),
        ({"alpha": 0.0}, "alpha: expected a positive"),
        ({"dropout": 1.0}, "dropout: expected"),
    ],
)
def test_settings_out_of_range_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        AdapterSettings(**values)
