"""UniMM: text and latents in, states out; what is trained and how the rooms are joined."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unimm.connector import Connector
from unimm.dit.lightning import LightningDiT
from unimm.flow.prediction import PREDICTIONS
from unimm.latents.decoder import RAEDecoder
from unimm.latents.encoder import build_encoder
from unimm.latents.statistics import LatentStatistics
from unimm.llm.decoding import llm_states
from unimm.llm.queries import QueryTokens
from unimm.llm.qwen import build_llm
from unimm.llm.splice import gather, splice
from unimm.model.config import UniMMConfig
from unimm.model.drawing import GeneratedImages, generate_image
from unimm.model.loading import check_weights, find_folder, read_config
from unimm.model.losses import Losses, training_losses
from unimm.model.responding import Event, Reply, collect, respond
from unimm.model.speaking import answer, caption
from unimm.model.verifying import Verifier, verify
from unimm.parts import Batch
from unimm.projector import Projector
from unimm.text.tokenizer import load_tokenizer
from unimm.weights.whole import save_whole

HUB_OPTIONS = ("revision", "token", "cache_dir", "force_download", "local_files_only")


class UniMM(PreTrainedModel):
    """One model that sees, talks and draws.

    Rooms: `llm` (Qwen2) reads text, projected latents and query tokens; `projector` brings latents to it;
    `queries` ask it what to draw; `connector` hands its answer to `dit`, which draws latents; `encoder`,
    `statistics` and `decoder` stand between latents and pixels.
    """

    config_class = UniMMConfig
    base_model_prefix = ""
    main_input_name = "batch"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen2DecoderLayer", "Block", "SiglipEncoderLayer"]
    _keep_in_fp32_modules_strict = ["statistics"]
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: UniMMConfig) -> None:
        super().__init__(config)
        settings = config.settings
        width, channels = settings.llm.width, settings.dit.channels
        self.llm = build_llm(settings.llm)
        self.queries = QueryTokens(settings.num_queries, width)
        self.projector = Projector(channels, width, settings.projector_depth)
        self.connector = Connector(width, settings.dit.condition_width, settings.connector_depth)
        self.dit = LightningDiT(settings.dit)
        self.encoder = build_encoder(settings.encoder)
        self.statistics = LatentStatistics(settings.num_queries, channels)
        self.decoder = RAEDecoder(settings.decoder)
        self.tokenizer: Any = None  # set by from_pretrained, or by whoever builds a model from a config
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Do nothing: each room has initialised itself, and loading leaves nothing to initialise."""

    # States.

    def embed(self, batch: Batch) -> Tensor:
        """Return [B T D]: token embeddings with images and queries in their places."""
        embeds = self.llm.get_input_embeddings()(batch.input_ids)
        if batch.context_runs:
            if batch.context_latents is None:
                raise ValueError(f"context_latents: expected {len(batch.context_runs)} images, got none")
            embeds = splice(embeds, self.projector(batch.context_latents), batch.context_runs)
        if batch.query_runs:
            embeds = splice(embeds, self.queries(len(batch.query_runs)), batch.query_runs)
        return embeds

    def forward(self, batch: Batch) -> Tensor:
        """Return the LLM's states [B T D] after the final norm; states on the padding mean nothing."""
        return llm_states(self.llm, self.embed(batch))

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
        """Return normalised latents [B N C] of pixels [B 3 Hp Wp] in [0, 1]."""
        return self.statistics.normalise(self.encoder.encode(pixels))

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Return pixels [B 3 Hp Wp] in [0, 1] of normalised latents [B N C]."""
        return self.decoder.decode(self.statistics.restore(latents))

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

    # The public face.

    def generate_image(self, prompt: str | Sequence[str], **options: Any) -> GeneratedImages:
        """Draw pictures of a prompt, or of each of a list.

        Args:
            prompt: what to draw.
            num_inference_steps: steps from noise to data, 50.
            guidance_scale: 1 is no guidance; any other number costs two evaluations per step. None takes the
                model's own setting, which is 1 in the published models.
            num_images_per_prompt: k, how many are returned for each prompt.
            best_of: n, how many are drawn for each prompt; the k that the verifier likes best are kept and
                decoded. 1 draws k and keeps them all.
            verifier: "answer_logits" (the default when there is a choice to make), "prompt_confidence",
                "prompt_confidence_reference", or a function `f(latents [M N C], prompts) -> scores [M]`.
            seed: of the first candidate; the others take the numbers after it. A list gives each prompt its
                own first.
            negative_prompt: what guidance leads away from, instead of the learned null condition.
            output_type: "pil", "pt" ([M 3 Hp Wp] in [0, 1]), "np" ([M Hp Wp 3]) or "latent".
            sampler: "clean", or "scale_rae" for the published sampler with its quirks.
            callback: called with (step, total) after every step.

        Raises:
            ValueError: an empty prompt, one longer than the context, or an option out of its range.
        """
        return generate_image(self, prompt, **options)

    def caption(self, image: Any, **options: Any) -> str | list[str]:
        """Describe a picture (anything the loader opens, or latents [N C]), or each of a list.

        Args:
            image: the picture.
            max_new_tokens: longest description, 64.
        """
        return caption(self, image, **options)

    def answer(self, image: Any, question: str | Sequence[str], **options: Any) -> str | list[str]:
        """Answer a question about a picture; lists of pictures, questions or both are answered pair by pair.

        Args:
            image: a picture or latents [N C], or a list.
            question: the question, or a list.
            choices: if given, the likeliest of these answers is returned instead of free words.
            max_new_tokens: longest free answer, 32.
        """
        return answer(self, image, question, **options)

    def verify(
        self, images: Any, prompt: str | Sequence[str], verifier: Verifier = "answer_logits"
    ) -> list[float]:
        """Score pictures, or latents [M N C], against a prompt (one for all, or one each); larger is better.

        The verifiers are those of `generate_image`. A score by "answer_logits" is positive where the model
        says yes.
        """
        return verify(self, images, prompt, verifier)

    def respond(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Iterator[Event]:
        """Yield a reply as it is made: TokenEvent, DrawingEvent, ImageEvent, and at the end DoneEvent.

        The model itself decides to draw, by opening a picture in its turn; the picture it drew is in its
        view at once.

        Args:
            messages: the conversation in the common format (see `parts.from_messages`), the last one the
                user's.
            context: a `Context` of this model to go on from; only what it does not hold is read.
            max_new_tokens: longest reply, 256; max_images: most pictures in it, 4.
            num_inference_steps, guidance_scale, sampler, seed: as in `generate_image`.
        """
        return respond(self, messages, **options)

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Reply:
        """Return a whole reply: text, images, latents, and the message to append. Options as in `respond`."""
        return collect(self.respond(messages, **options))

    # Loading and saving.

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *args: Any,
        dtype: torch.dtype | str = torch.float32,
        **options: Any,
    ) -> UniMM:
        """Load a model: "tiny" (built in), a folder, or a hub id; all its weights must be there, no others.

        Args:
            name: which model.
            dtype: compute dtype; float32 whatever the weights are stored in. "auto" keeps that of the
                configuration.
            options: transformers' own: device_map, attn_implementation, quantization_config, revision, token,
                cache_dir, local_files_only, ...

        Raises:
            FileNotFoundError: no such folder or hub model, or a file of it is missing.
            ValueError: an unknown name (with a suggestion), or weights that are missing, unexpected or
                misshapen.
        """
        hub = {key: options.pop(key) for key in HUB_OPTIONS if key in options}
        folder = find_folder(name, **hub)
        config = options.pop("config", None) or read_config(folder)
        with torch.device("meta"):
            plan = cls(config)
        check_weights(
            folder, {k: v.shape for k, v in plan.state_dict().items()}, set(plan.all_tied_weights_keys)
        )
        model = super().from_pretrained(folder, *args, config=config, dtype=dtype, **options)
        for module in model.modules():  # constant tables are in no file, and loading left them empty
            if hasattr(module, "reset_tables"):
                module.reset_tables()
        if (folder / "tokenizer.json").is_file():
            model.tokenizer = load_tokenizer(folder)
            rows = config.settings.llm.vocab_size
            if len(model.tokenizer) > rows:
                raise ValueError(
                    f"tokenizer: expected at most {rows} tokens (llm.vocab_size), got {len(model.tokenizer)}"
                )
        return model

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        dtype: torch.dtype | None = None,
        state_dict: dict[str, Tensor] | None = None,
        **options: Any,
    ) -> None:
        """Save configuration, weights and tokenizer to a folder, which appears only when it is complete.

        Args:
            save_directory: the folder; other files in it are kept.
            dtype: what parameters are stored in (buffers stay as they are); None stores them as they are.
            state_dict: other weights to store than the model's own.
            options: transformers' own: max_shard_size ("15MB"), variant, ...

        Raises:
            OSError: the disk is full or the folder cannot be written; nothing has changed then.
        """
        state = dict(self.state_dict() if state_dict is None else state_dict)
        for tied in self.all_tied_weights_keys:
            state.pop(tied, None)
        if dtype is not None:
            parameters = {key for key, _ in self.named_parameters(remove_duplicate=False)}
            state = {key: value.to(dtype) if key in parameters else value for key, value in state.items()}

        def write(folder: Path) -> None:
            super(UniMM, self).save_pretrained(folder, state_dict=state, **options)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(folder)

        save_whole(write, save_directory)

    # What transformers asks of a model.

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.llm.get_input_embeddings()

    def set_input_embeddings(self, value: torch.nn.Module) -> None:
        self.llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.llm.get_output_embeddings()

    def set_output_embeddings(self, value: torch.nn.Module) -> None:
        self.llm.set_output_embeddings(value)
