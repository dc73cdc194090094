"""A compiled network draws what an eager one draws, and one drawing is compiled for once."""

from __future__ import annotations

import pytest
import torch

from tests.model.small import small_model

STEPS = {"num_inference_steps": 3, "output_type": "latent", "seed": 3}
PROMPTS = ["a red star", "two blue circles"]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def agree(model, compiled, **options):
    expected = model.generate_image(PROMPTS, **STEPS, **options).latents
    found = compiled.generate_image(PROMPTS, **STEPS, **options).latents
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_graphs_draw_as_eager_mode_does_and_one_drawing_has_one_shape():
    model, compiled, rows = small_model(), small_model(), []

    def backend(graph, inputs):
        rows.append(graph)
        return graph.forward

    compiled.compile_drawing(backend=backend, fullgraph=True)
    assert set(compiled.state_dict()) == set(model.state_dict())
    # Seven pictures in passes of three: 2, 2 and 3 were three compilations, filled up they are one.
    agree(model, compiled, num_images_per_prompt=4, batch_size=3)
    assert len(rows) == 1
    agree(model, compiled, num_images_per_prompt=4, batch_size=3, solver="heun")
    assert len(rows) == 1, "another solver asks the same network"
    agree(model, compiled, num_images_per_prompt=4, batch_size=3, guidance_scale=2.0)
    assert len(rows) == 2, "the null condition is another graph, of one vector per picture"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own code generator
def test_generated_code_draws_as_eager_mode_does():
    model, compiled = small_model(), small_model()
    compiled.compile_drawing()
    agree(model, compiled, num_images_per_prompt=4, batch_size=3, guidance_scale=2.0)
