"""A run of questions as a page: the card, and some questions with their pictures and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL.Image import Image

from unimm.evaluation.card import headline, leaf_of, said, scale_of
from unimm.evaluation.page import Shown, facts_list, gallery, score_table, shell
from unimm.evaluation.vqa.card import notes
from unimm.evaluation.vqa.pictures import Picture, PictureError, opened

SHOWN = 24


def card_page(
    card: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    worth: Mapping[str, float],
    pictures: Mapping[str, Picture],
) -> str:
    """Return the page, one file without outside parts.

    Args:
        card: of the run.
        records: all of them, in order.
        worth: of each record by its id, in [0, 1].
        pictures: of some questions, by id.
    """
    shown = [record for record in records if record["id"] in pictures][:SHOWN]
    figures = [shown_of(record, worth[record["id"]], pictures.get(record["id"])) for record in shown]
    quoted, model = headline(card), card["run"]["model"]
    unit = "per cent" if scale_of(card, quoted) == 100 else "points"
    facts = {name: value for name, value in card.items() if name not in ("scores", "scales", "notes")}
    body = f"""<h1>{escape(card["metric"])}</h1>
<p class="quiet">{escape(model["name"])}, weights {model["weights"][:12]}</p>
<p class="big">{said(leaf_of(card, quoted), scale_of(card, quoted))}</p>
<p class="quiet">{escape(quoted)}, {unit}, with its 95 % interval</p>
{"".join(f"<p>{escape(line)}</p>" for line in notes(card))}
<h2>Scores</h2>
{score_table(card)}
<h2>Questions</h2>
<p class="quiet">The first {len(figures)} with a picture, of {card["n"]}.</p>
{gallery(figures)}
<h2>How it was asked and measured</h2>
{facts_list(facts)}"""
    return shell(str(card["metric"]), body)


def shown_of(record: Mapping[str, Any], worth: float, source: Picture | None) -> Shown:
    """Return a question, its answer and what that is worth."""
    told = record["prediction"] if "prediction" in record else f"(failed: {record.get('error')})"
    gold = record["gold"]
    right = gold if isinstance(gold, str) else " / ".join(dict.fromkeys(map(str, gold)))
    words = f"said: {told}\nright: {right}"
    return Shown(_image(source), str(record["prompt"]), record.get("category") or "questions", worth, words)


def _image(source: Picture | None) -> Image | None:
    try:
        return None if source is None else opened(source.read())
    except PictureError:
        return None
