"""The page and the contact sheet show what the report holds, and nothing from elsewhere."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from unimm.app.page import render
from unimm.app.report import Drawing, Exchange, Plan, Report
from unimm.app.sheet import GAP, SIDE, contact_sheet


def drawing(prompt="a red star", scores=(0.5, 2.25, -1.0), colour="red") -> Drawing:
    return Drawing(
        prompt, Image.new("RGB", (80, 80), colour), scores, "a star", (("What colour?", "red"),), 1.5
    )


@pytest.fixture
def report() -> Report:
    exchange = Exchange("Draw <b>two</b> stars", "Here they are", (Image.new("RGB", (80, 80)),), 1.0)
    facts = (("torch", "2.13 (CPU build)"),)
    return Report("tiny", (drawing(), drawing("a blue moon")), (exchange,), Plan(50, 3, 7), 12.0, facts)


def test_the_page_holds_prompts_answers_talk_and_facts(report):
    page = render(report)
    for text in (
        "a red star",
        "a blue moon",
        "What colour?",
        "Here they are",
        "2.13 (CPU build)",
        "50 steps",
        "seed 7",
    ):
        assert text in page


def test_the_page_asks_nothing_of_the_network(report):
    page = render(report)
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "http" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert page.count("data:image/png;base64,") == 3


def test_every_candidate_has_a_bar_and_the_winner_is_marked(report):
    page = render(report)
    assert page.count('title="candidate') == 2 * 3
    assert page.count("class=won") == 2
    assert '<i class=won style="height:100%" title="candidate 2: 2.250">' in page
    assert '<i style="height:12%" title="candidate 3: -1.000">' in page


def test_equal_scores_do_not_divide_by_zero():
    report = Report("tiny", (drawing(scores=(1.0, 1.0)),), (), Plan(), 1.0, ())
    assert "class=won" in render(report)


def test_what_people_wrote_is_escaped(report):
    page = render(report)
    assert "<b>two</b>" not in page
    assert "&lt;b&gt;two" in page


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 3, 2)])
def test_the_sheet_holds_every_drawing(count, columns, rows):
    sheet = contact_sheet(tuple(drawing(colour="lime") for _ in range(count)))
    assert sheet.width == columns * (SIDE + GAP) + GAP
    lime = sum(n for n, colour in sheet.getcolors(maxcolors=2**20) if colour == (0, 255, 0))
    assert lime == count * SIDE * SIDE


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet(())
