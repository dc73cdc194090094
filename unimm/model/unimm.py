"""UniMM: text and latents in, states out; what is trained and how the rooms are joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unimm.connector import Connector
from unimm.flow.prediction import PREDICTIONS
from unimm.latents.autoencoder import build_latent_space
from unimm.latents.decoder import RAEDecoder
from unimm.latents.encoder import build_encoder
from unimm.latents.statistics import LatentStatistics
from unimm.llm.decoding import llm_states
from unimm.llm.queries import QueryTokens
from unimm.llm.qwen import build_llm, compute_again
from unimm.llm.rounding import rounded
from unimm.llm.splice import gather, splice
from unimm.model.config import DRAWING_BODIES, UniMMConfig
from unimm.model.drawing import GeneratedImages, compile_drawing, generate_image
from unimm.model.losses import Losses, training_losses
from unimm.model.responding import Event, Reply, collect, respond
from unimm.model.seeing import decode_latents, encode_image, encode_target, reading, rounded_rows, to_seen
from unimm.model.speaking import answer, caption
from unimm.model.stored import StoredModel
from unimm.model.verifying import Verdicts, Verifier, verify
from unimm.parts import Batch
from unimm.projector import Projector


class UniMM(StoredModel):
    """One model that sees, talks and draws.

    Rooms: `llm` (Qwen2) reads text, projected latents and query tokens; `projector` brings latents to it;
    `queries` ask it what to draw; `connector` hands its answer to `dit`, which draws latents; `encoder`,
    `statistics` and `decoder` stand between latents and pixels. A model that draws in another space than it
    sees has that space as `drawn`, and no decoder.
    """

    compiled_drawing = False
    """Whether the DiT was compiled by `compile_drawing`."""

    def __init__(self, config: UniMMConfig) -> None:
        super().__init__(config)
        settings = config.settings
        width, body = settings.llm.width, DRAWING_BODIES[settings.body][1]
        self.llm = build_llm(settings.llm)
        self.llm.set_attn_implementation(config._attn_implementation)
        self.queries = QueryTokens(settings.num_queries, width)
        self.projector = Projector(settings.encoder.width, width, settings.projector_depth)
        self.connector = Connector(width, settings.dit.condition_width, settings.connector_depth)
        self.dit = body(settings.dit)
        self.encoder = build_encoder(settings.encoder)
        self.statistics = LatentStatistics(settings.num_latents, settings.dit.channels)
        self.decoder = None if settings.decoder is None else RAEDecoder(settings.decoder)
        self.drawn = (
            None if settings.drawn is None else build_latent_space(settings.drawn["kind"], settings.space)
        )
        self.tokenizer: Any = None  # set by from_pretrained, or by whoever builds a model from a config
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Do nothing: each room has initialised itself, and loading leaves nothing to initialise."""

    # States.

    def embed(self, batch: Batch, rounds: bool | None = None) -> Tensor:
        """Return [B T D]: token embeddings with images and queries in their places.

        Args:
            batch: rows with the latents that are seen.
            rounds: whether all rows are rounded to bfloat16, but for their queries; None rounds the rows that
                see a picture, where the profile has it so.
        """
        embeds = self.llm.get_input_embeddings()(batch.input_ids)
        if batch.context_runs:
            if batch.context_latents is None:
                raise ValueError(f"context_latents: expected {len(batch.context_runs)} images, got none")
            embeds = splice(embeds, self.projector(batch.context_latents), batch.context_runs)
        rows = rounded_rows(self, batch, rounds)
        if rows is not None:
            embeds = torch.where(rows[:, None, None], rounded(embeds), embeds)
        if batch.query_runs:
            embeds = splice(embeds, self.queries(len(batch.query_runs)), batch.query_runs)
        return embeds

    def forward(self, batch: Batch, rounds: bool | None = None) -> Tensor:
        """Return the LLM's states [B T D] after the final norm; states on the padding mean nothing.

        Arguments as in `embed`.
        """
        with reading(self, batch, rounds):
            return llm_states(self.llm, self.embed(batch, rounds), batch.samples)

    def query_states(self, batch: Batch) -> Tensor:
        """Return what the LLM intends to draw: its states at the query runs, [J Q D]."""
        return gather(self(batch), batch.query_runs)

    def velocity(self, x_t: Tensor, t: Tensor, conditions: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Return the velocity [B N C] of latents x_t [B N C] at times t [B] under conditions [B N Z].

        Where dropped [B] (bool) is true, the null condition stands in.
        """
        output = self.dit(x_t, t, conditions, dropped)
        return PREDICTIONS[self.config.settings.prediction](output, x_t, t)

    # Latents and pixels.

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the latents [B N C] that are seen of pixels [B 3 S S] in [0, 1].

        S is the encoder's image_size, C its width. Of a RAE they are normalised.
        """
        return encode_image(self, pixels)

    def encode_target(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the normalised latents [B N C] that would be drawn of pixels [B 3 S S] in [0, 1].

        Of a RAE they are those that are seen; of a VAE the posterior's mean, or a sample where a generator
        is given. S is the settings' target_size.
        """
        return encode_target(self, pixels, generator)

    def to_seen(self, latents: Tensor) -> Tensor:
        """Return drawn latents [M N C] as the projector takes them, [M N C'].

        Of a RAE they are the same; those of a VAE are decoded and encoded, as any picture is seen.
        """
        return to_seen(self, latents)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Return pixels [B 3 Hp Wp] in [0, 1] of drawn latents [B N C], normalised."""
        return decode_latents(self, latents)

    # Training.

    def training_losses(self, batch: Batch, *, noise_draws: int = 1, generator: torch.Generator) -> Losses:
        """Return cross entropy and flow loss of a batch after one pass of the LLM.

        Every trainable room takes part in every call, with weight zero where the batch has no use for it:
        ranks that skipped a room would wait for each other for ever.

        Args:
            batch: rows with labels, seen images and images to draw; target_latents [J N C] are the data of
                the flow.
            noise_draws: independent (noise, time, dropped condition) per image to draw; the LLM runs once
                for all.
            generator: source of noise, times and dropped conditions.
        """
        return training_losses(self, batch, noise_draws, generator)

    def compute_again(self) -> None:
        """Keep only what enters each block of the LLM and the DiT in training: less memory, more time."""
        compute_again(self.llm)
        self.dit.gradient_checkpointing = True

    # The public face.

    def generate_image(
        self, prompt: str | Sequence[str], images: Any = None, **options: Any
    ) -> GeneratedImages:
        """Draw pictures of a prompt, or of each of a list.

        Args:
            prompt: what to draw; marks such as <image> in it are read as ordinary characters.
            images: pictures or latents [N C] that stand before the prompt, for models trained to draw with
                them: one or a list; for a list of prompts, a list for each.
            num_inference_steps: steps from noise to data, 50.
            guidance_scale: 1 is no guidance; any other number costs two evaluations per step. None takes the
                model's own setting, which is 1 in the published models.
            guidance_interval: (low, high), the times in which guidance acts; 0 is data, 1 is noise.
            num_images_per_prompt: k, how many are returned for each prompt.
            best_of: n, how many are drawn for each prompt; the k that the verifier likes best are kept and
                decoded. 1 draws k and keeps them all.
            verifier: "answer_logits" (the default when there is a choice to make), "prompt_confidence",
                "p_yes", "prompt_likelihood", "image_confidence", a function `f(latents [M N C], prompts) ->
                scores [M]`, or `unimm.on_pixels(f)` with `f(images, prompts) -> scores`, for which every
                candidate is decoded. The model itself judges with a prompt's `images` in view, before the
                candidate; a function is given the prompt's words alone.
            stop_margin: draw in rounds, and no more for a prompt once its last kept score is this far above
                the next.
            stop_probability: draw in rounds, and no more for a prompt once each kept candidate is right with
                this probability, for verifiers that the model is calibrated for; not with `images`.
            seed: of the first candidate; the others take the numbers after it. A list gives each prompt its
                own first.
            negative_prompt: what guidance leads away from, instead of the learned null condition; read after
                the same pictures as the prompt. It needs a guidance_scale other than 1.
            output_type: "pil", "pt" ([M 3 Hp Wp] in [0, 1]), "np" ([M Hp Wp 3]) or "latent".
            sampler, solver: one thing by two names, a row of `flow.sampling.SAMPLERS`: "clean", Euler's
                method on the clean grid; "scale_rae", the published sampler with its quirks; "heun", "rk4",
                "euler_maruyama", ... None is the profile's.
            grid: the times of solvers that bring none of their own, a row of `flow.GRIDS`.
            image_start: "forced", a picture is opened after the prompt; or "model": the model decides, and
                what it says before the picture is in `texts`. Nothing is drawn of any prompt where it answers
                one in text: the error has all `prompts`, and its answers in `texts`, by place.
            batch_size: pictures that go through a room together; None is as many as fit. No result depends
                on it.
            callback: called with (step, total) after every step; the total is that of all n candidates.
            on_step: called with (step, total, latents [B N C]) after every step, those of the pass under way.

        Raises:
            ValueError: an empty prompt, one longer than the context, or an option out of its range.
            AnsweredInText: the model was left to decide and answered in text; a ValueError.
        """
        return generate_image(self, prompt, images, **options)

    def compile_drawing(self, **options: Any) -> None:
        """Compile the network that draws, in place; names of weights stay as they are.

        Passes of one drawing are then filled up to one shape. Another number of pictures is compiled for
        once more, with that number as a variable. Results agree with those of eager mode to rounding.

        Args:
            options: of `torch.nn.Module.compile`: backend, mode, dynamic, fullgraph.
        """
        compile_drawing(self, **options)

    def caption(self, image: Any, **options: Any) -> str | list[str]:
        """Describe a picture (anything the loader opens, or latents [N C]), or each of a list.

        Args:
            image: the picture; a list may mix pictures and latents.
            max_new_tokens: longest description, 64.
            temperature: words are drawn by chance, at 1 as the model gives it; None is the likeliest words.
            top_p: of the chance, what the likeliest words make up is kept, 1.
            seed: of the first picture's words; the others take the numbers after it.
        """
        return caption(self, image, **options)

    def answer(self, image: Any, question: str | Sequence[str], **options: Any) -> str | list[str]:
        """Answer a question about a picture; lists of pictures, questions or both are answered pair by pair.

        Args:
            image: a picture or latents [N C], or a list.
            question: the question, or a list.
            choices: if given, the likeliest of these answers is returned instead of free words.
            max_new_tokens: longest free answer, 32.
            temperature, top_p, seed: of a free answer, as in `caption`.
        """
        return answer(self, image, question, **options)

    def verify(
        self,
        images: Any,
        prompt: str | Sequence[str],
        verifier: Verifier = "answer_logits",
        probabilities: bool = False,
        context: Any = None,
    ) -> list[float] | Verdicts:
        """Score pictures, or latents [M N C], against a prompt (one for all, or one each); larger is better.

        The verifiers are those of `generate_image`. A score by "answer_logits" is positive where the model
        says yes.

        Args:
            images: pictures or latents.
            prompt: what they should show.
            verifier: who judges.
            probabilities: return `Verdicts(scores, probabilities)`, with the calibrated probability that
                each picture shows its prompt; not with a context.
            context: pictures or latents that stand before the prompt, as the `images` of `generate_image`:
                what was edited, for example. The model itself judges with them in view, before the
                candidate.

        Raises:
            ValueError: an unknown verifier, or probabilities of one that the model is not calibrated for.
        """
        return verify(self, images, prompt, verifier, probabilities, context)

    def respond(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Iterator[Event]:
        """Yield a reply as it is made: TokenEvent, DrawingEvent, ImageEvent, and at the end DoneEvent.

        The model itself decides to draw, by opening a picture in its turn; the picture it drew is in its
        view at once.

        Args:
            messages: the conversation in the common format (see `parts.from_messages`), the last one the
                user's.
            context: a `Context` of this model to go on from; only what it does not hold is read.
            max_new_tokens: longest reply, 256; max_images: most pictures in it, 4.
            image_start: "model", it decides; "wanted", it decides, and a reply without a picture ends with
                the reason "no_image"; "forced", the reply begins with a picture.
            num_inference_steps, guidance_scale, guidance_interval, sampler, solver, grid, seed: as in
                `generate_image`.
        """
        return respond(self, messages, **options)

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Reply:
        """Return a whole reply: text, images, latents, reason, and the message to append.

        Where a picture was wanted (`image_start="wanted"`) and the model answered in words, `lacks_image` is
        true. Options as in `respond`.
        """
        return collect(self.respond(messages, **options))
