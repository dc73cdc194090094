"""Small random models of transformers' classes, saved to folders with all the files a published one has."""

from __future__ import annotations

import string
from pathlib import Path

import torch

CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation


def save_clip(folder: Path, activation: str = "quick_gelu", width: int = 16, seed: int = 0) -> Path:
    """Save a CLIP that reads letter by letter and looks at 32 x 32 pixels."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPTextConfig,
        CLIPTokenizer,
        CLIPVisionConfig,
    )

    ends = ["<|startoftext|>", "<|endoftext|>"]
    letters = [*CHARACTERS, *(letter + "</w>" for letter in CHARACTERS)]
    vocabulary = {token: i for i, token in enumerate([*letters, *ends])}
    tower = {
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2,
        "num_attention_heads": 2, "projection_dim": width, "hidden_act": activation, "initializer_range": 0.3,
    }  # fmt: skip
    end = vocabulary[ends[1]]
    text = CLIPTextConfig(
        **tower, vocab_size=len(vocabulary), max_position_embeddings=77, bos_token_id=end - 1,
        eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    vision = CLIPVisionConfig(**tower, image_size=32, patch_size=8)
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=width)
    CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def save_siglip(folder: Path, width: int = 16, seed: int = 0) -> Path:
    """Save a SigLIP that reads letter by letter, 64 tokens, and looks at 32 x 32 pixels."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
        SiglipTextConfig,
        SiglipVisionConfig,
    )

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", " ", *CHARACTERS])}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tower = {
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    text = SiglipTextConfig(**tower, vocab_size=len(vocabulary), max_position_embeddings=64)
    vision = SiglipVisionConfig(**tower, image_size=32, patch_size=8)
    torch.manual_seed(seed)
    SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())).save_pretrained(
        folder
    )
    PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
