"""Opening a trained model to go on from, whole or, where ranks build one in pieces, by pieces."""

from __future__ import annotations

from unimm.model.loading import check_tokenizer, check_weights, expected, find_folder, read_config
from unimm.model.published import is_published
from unimm.model.unimm import UniMM
from unimm.text.tokenizer import load_tokenizer
from unimm.training.sharding import fill, in_pieces
from unimm.weights.shards import stored_tensors


def open_model(name: str, **options) -> UniMM:
    """Return a model that will be trained; where it is built in pieces, a process reads its own alone.

    Args:
        name: "tiny", a model folder or a hub id.
        options: of `UniMM.from_pretrained`; none where the model is built in pieces.

    Raises:
        FileNotFoundError: no such folder or hub model, or a file of it is missing.
        ValueError: an unknown name; weights that are missing, unexpected or misshapen; in pieces, a published
            folder in another layout or options.
    """
    if not in_pieces():
        return UniMM.from_pretrained(name, **options)
    folder = find_folder(name)
    if options or is_published(folder):
        what = f"options {', '.join(options)}" if options else "a published layout"
        raise ValueError(
            f"{name}: expected a folder of unimm's own under deepspeed.zero_stage 3, got {what}; "
            "convert it first with `unimm convert`, or use a lower stage"
        )
    config = read_config(folder)
    sizes, tied = expected(UniMM, config)
    check_weights(folder, sizes, tied)
    model = UniMM(config)
    fill(model, stored_tensors(folder), str(folder), tied)
    if (folder / "tokenizer.json").is_file():
        model.tokenizer = load_tokenizer(folder)
        check_tokenizer(model.tokenizer, config)
    return model
