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


WORDS = (
    "yes",
    "Yes",
    "no",
    "No",
    "three",
    "3",
    "USER",
    "ASSISTANT",
    "Is",
    "there",
    "a",
    "cat",
    "Answer",
    "or",
    "?",
)


def _word_tokenizer():
    """Return a tokenizer of whole words and marks."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", "<image>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip


CHAT = (
    "{% for message in messages %}USER {% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT{% endif %}"
)


def save_llava(folder: Path, chat: str | None = CHAT, seed: int = 0) -> Path:
    """Save a LLaVA: CLIP's tower over 16 x 16 pixels, a small Qwen2 of whole words."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        Qwen2Config,
    )

    tokenizer = _word_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, image_size=16, patch_size=8)
    text = Qwen2Config(
        **sizes, vocab_size=len(tokenizer), num_key_value_heads=2, initializer_range=0.5,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>")
    )
    torch.manual_seed(seed)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size), tokenizer, patch_size=8,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=chat,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_qwen3_vl(folder: Path, seed: int = 0) -> Path:
    """Save a Qwen3-VL with a small tower and a small text model of whole words."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = _word_tokenizer()
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    image, video, start, end = tokenizer.convert_tokens_to_ids(marks)
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": 8,
        "out_hidden_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    text = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(tokenizer), "initializer_range": 0.5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    config = Qwen3VLConfig(
        vision_config=vision, text_config=text, image_token_id=image, video_token_id=video,
        vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    torch.manual_seed(seed)
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    looks = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2}
    edges = {"size": {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}}
    chat = CHAT.replace("'<image>'", "'<|vision_start|><|image_pad|><|vision_end|>'")
    Qwen3VLProcessor(
        Qwen2VLImageProcessor(**looks, **edges), tokenizer, Qwen3VLVideoProcessor(**looks), chat_template=chat
    ).save_pretrained(folder)
    return folder
