"""What loading and saving ask of a model, and what transformers asks, whatever the rooms are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unimm.loaded import without_accelerator_warning
from unimm.model import adapter_files
from unimm.model.adapters import AdapterSettings
from unimm.model.config import UniMMConfig
from unimm.model.loading import find_folder, refuse_options, rooms_of
from unimm.model.opened import open_ours
from unimm.model.placing import undivided
from unimm.model.profile import Profile, as_profile
from unimm.model.published import PARTS, is_published, open_published
from unimm.model.quantising import llm_only
from unimm.model.verifying.calibrated import load_calibrations, save_calibrations, still_true
from unimm.verify.calibrations import Calibrations
from unimm.weights.whole import save_whole

HUB_OPTIONS = ("revision", "token", "cache_dir", "force_download", "local_files_only")


class StoredModel(PreTrainedModel):
    """A model in a folder: configuration, weights and tokenizer, all of them or none."""

    config_class = UniMMConfig
    base_model_prefix = ""
    main_input_name = "batch"
    supports_gradient_checkpointing = True
    _keep_in_fp32_modules_strict = ["statistics"]
    _supports_sdpa = True
    _supports_flash_attn = True
    tokenizer: Any

    def __init__(self, config: UniMMConfig) -> None:
        super().__init__(config)
        self.profile = "standard"
        self.calibrations = Calibrations()
        self.adapter: AdapterSettings | None = None  # see `unimm.model.adapters`

    def post_init(self) -> None:
        """Do what transformers does when all rooms are there, and say which parts no device_map divides."""
        super().post_init()
        self._no_split_modules = undivided(self)

    @property
    def profile(self) -> Profile:
        """Whether the model runs correctly or with the published quirks; may be set by name. Not saved."""
        return self._profile

    @profile.setter
    def profile(self, value: Profile | str) -> None:
        self._profile = as_profile(value)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *args: Any,
        dtype: torch.dtype | str = torch.float32,
        profile: Profile | str = "standard",
        adapter: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Self:
        """Load a model: "tiny" (built in), a folder, or a hub id; all its weights must be there, no others.

        Args:
            name: which model.
            dtype: compute dtype; float32 whatever the weights are stored in. "auto" keeps that of the
                configuration.
            profile: "standard" is correct mathematics; "reference" has every quirk that decides a published
                number (see `unimm.model.profile`).
            adapter: folder of an adapter made for this model.
            options: transformers' own: device_map, attn_implementation, quantization_config, revision, token,
                cache_dir, local_files_only, ... A quantization_config gives fewer bits to the language model
                alone. For a published Scale-RAE model besides vision_tower, decoder and tokenizer, folders or
                hub ids, where its folder and config do not tell them; it is read without quantization_config
                (convert it first, see `unimm convert`).

        Raises:
            FileNotFoundError: no such folder or hub model, or a file of it is missing.
            ValueError: an unknown name or option (with a suggestion), weights that are missing, unexpected or
                misshapen, or an adapter of another model.
        """
        profile, dtype = as_profile(profile), options.pop("torch_dtype", dtype)
        if options.pop("output_loading_info", False):
            raise ValueError(
                "output_loading_info: expected false: a model is loaded whole or not at all, so there is "
                "nothing to tell"
            )
        refuse_options(options)
        hub = {key: options.pop(key) for key in HUB_OPTIONS if key in options}
        parts = {key: options.pop(key) for key in PARTS if key in options}
        folder = find_folder(name, **hub)
        if is_published(folder):
            opened = open_published(cls, folder, parts, hub, options)
        else:
            opened = open_ours(cls, folder, parts, options.pop("config", None))
        config = opened.config
        if options.get("quantization_config") is not None:
            options["quantization_config"] = llm_only(options["quantization_config"], rooms_of(cls, config))
        model = super().from_pretrained(*args, **opened.source, config=config, dtype=dtype, **options)
        model.profile = profile
        for module in model.modules():  # constant tables are in no file, and loading left them empty
            if hasattr(module, "reset_tables"):
                module.reset_tables()
        if not getattr(model, "is_quantized", False):  # those of all bits hold for no fewer
            stored = {name: opened.state[name] for name in model.stored_state()}
            model.calibrations = load_calibrations(folder, stored)
        if opened.tokenizer is not None:
            model.tokenizer = opened.tokenizer
        model.name_or_path = os.fspath(name)
        if adapter is not None:
            model.load_adapter(adapter)
        return model

    def load_adapter(self, folder: str | os.PathLike[str]) -> None:
        """Give the model the adapter in a folder, which acts at once; see `unimm.model.adapters`.

        Raises:
            FileNotFoundError: the folder or a file in it is missing.
            ValueError: an adapter made for other weights, which are named, or one that is damaged.
        """
        adapter_files.load_adapter(self, folder)

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
            ValueError: the model has an adapter.
            OSError: the disk is full or the folder cannot be written; nothing has changed then.
        """
        if self.adapter is not None:
            raise ValueError(
                "save: expected a model without an adapter, got one with; save_adapter stores the adapter "
                "alone, merge_adapter makes one model of both"
            )
        state = self.stored_state() if state_dict is None else dict(state_dict)
        for tied in self.all_tied_weights_keys:
            state.pop(tied, None)
        if dtype is not None:
            parameters = {key for key, _ in self.named_parameters(remove_duplicate=False)}
            state = {key: value.to(dtype) if key in parameters else value for key, value in state.items()}
        calibrations = still_true(self.calibrations, state)  # what writes the weights empties the state

        def write(folder: Path) -> None:
            with without_accelerator_warning():
                super(StoredModel, self).save_pretrained(folder, state_dict=state, **options)
            save_calibrations(folder, calibrations)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(folder)

        save_whole(write, save_directory)

    def stored_state(self) -> dict[str, Tensor]:
        """Return what is saved: every tensor but those that are tied to others."""
        tied = set(self.all_tied_weights_keys)
        return {key: tensor for key, tensor in self.state_dict().items() if key not in tied}

    # What transformers asks of a model.

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.llm.get_input_embeddings()

    def set_input_embeddings(self, value: torch.nn.Module) -> None:
        self.llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.llm.get_output_embeddings()

    def set_output_embeddings(self, value: torch.nn.Module) -> None:
        self.llm.set_output_embeddings(value)
