"""A run of questions as a page: the card, and the first questions with their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from unimm.evaluation.page import facts_list, picture, shell
from unimm.evaluation.vqa.card import table
from unimm.evaluation.vqa.pictures import Picture, PictureError, opened

SHOWN = 24


def card_page(
    card: Mapping[str, Any], records: Sequence[Mapping[str, Any]], pictures: Mapping[str, Picture]
) -> str:
    """Return the page, one file without outside parts.

    Args:
        card: of the run.
        records: all of them, in order.
        pictures: of some questions, by id.
    """
    shown = [record for record in records if record["id"] in pictures][:SHOWN]
    figures = "".join(_figure(record, pictures[record["id"]]) for record in shown)
    facts = {name: value for name, value in card.items() if name not in ("scores", "notes")}
    body = (
        f"<h1>{escape(card['metric'])}</h1><pre>{escape(table(card))}</pre><h2>The first questions</h2>"
        f'<div class="gallery">{figures}</div><h2>How</h2>{facts_list(facts)}'
    )
    return shell(str(card["metric"]), body)


def _figure(record: Mapping[str, Any], source: Picture) -> str:
    try:
        image = opened(source.read())
    except PictureError:
        image = None
    said = record.get("prediction", f"failed: {record.get('error')}")
    return (
        f"<figure>{picture(image, str(record['id']))}<figcaption><b>{escape(str(record['prompt']))}</b><br>"
        f"said: {escape(str(said))}<br>right: {escape(str(record['gold']))}</figcaption></figure>"
    )
