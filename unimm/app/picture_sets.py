"""`unimm eval pictures`: folders of pictures compared as sets, in pairs, and with their texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from unimm.app.eval_inputs import load_model
from unimm.app.evaluate import evaluation
from unimm.app.options import Device


@evaluation.command("pictures")
def compare_pictures(
    real: Annotated[Path, typer.Argument(help="A folder of pictures.")],
    drawn: Annotated[Path | None, typer.Argument(help="Another one; or none, with --through.")] = None,
    through: Annotated[
        str | None, typer.Option(help="A model that encodes and decodes the real pictures instead.")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare the sets by a network: own:tiny, inception:FILE (FID), clip:FOLDER; repeatable."
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Compare pictures of one name: PSNR and SSIM.")
    ] = False,
    distance: Annotated[
        list[str] | None, typer.Option(help="Of pairs too: lpips_vgg:FILE or lpips_alex:FILE; repeatable.")
    ] = None,
    texts: Annotated[Path | None, typer.Option(help="A JSON object {name: text}, for --embedder.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="How well drawn pictures fit texts: clip:FOLDER or siglip:FOLDER.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Scale and crop all pictures to squares of so many pixels.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .json file for the numbers.")] = None,
    device: Device = "cpu",
) -> None:
    """Compare pictures: FID and its kin of two sets, PSNR, SSIM and LPIPS of pairs, CLIP score of texts."""
    from unimm.evaluation import picture_sets as sets
    from unimm.evaluation.judges.table import load_judge
    from unimm.evaluation.metrics.networks import open_backbone, open_distance
    from unimm.evaluation.metrics.tables import passed_on
    from unimm.evaluation.run import model_facts

    if (drawn is None) == (through is None) and (features or pairs or distance or through):
        raise ValueError("drawn: expected a second folder, or --through MODEL, and not both")
    if (texts is None) != (embedder is None):
        raise ValueError("--texts: it goes with --embedder, and --embedder with it")
    if not (features or pairs or distance or texts):
        raise ValueError("nothing to measure: expected --features, --pairs, --distance or --texts")
    ours = sets.find_set(real, size)
    theirs, facts = None if drawn is None else sets.find_set(drawn, size), None
    said = None if texts is None else sets.read_texts(texts)
    backbones = [open_backbone(spec, device) for spec in features or ()]
    distances = [open_distance(spec, device) for spec in distance or ()]
    judge = None if embedder is None else load_judge("embedder", embedder, device=device)
    if through is not None:
        model = load_model(through, device)
        facts = model_facts(model, through)
        theirs = replace(ours, passed=lambda pictures: passed_on(model, pictures))
    numbers: dict[str, float] = {}
    leaves = {}
    for backbone in backbones:
        numbers |= sets.set_statistics(ours, theirs, backbone)
    if pairs or distances:
        leaves |= sets.pair_statistics(ours, theirs, distances)
    if said is not None:
        leaves |= sets.text_statistics(theirs or ours, said, judge)
    card = sets.make_card(ours, None if through is not None else theirs, numbers, leaves, facts)
    print(sets.markdown(card))
    if out is not None:
        print(f"\n{sets.write_card(out, card)} keeps it.")
