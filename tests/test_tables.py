"""Looking a name up: what is there is given, what is not is refused with the nearest."""

from __future__ import annotations

import pytest

from unimm.tables import pick, suggestion

TABLE = {"euler": 1, "heun": 2, "XL": 3}


def test_a_known_kind_gives_its_row():
    assert pick("solver", "heun", TABLE) == 2


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("eular", "solver: expected one of euler, heun, XL, got 'eular'; did you mean 'euler'?"),
        ("xl", "solver: expected one of euler, heun, XL, got 'xl'; did you mean 'XL'?"),
        ("midpoint", "solver: expected one of euler, heun, XL, got 'midpoint'"),
        (3, "solver: expected one of euler, heun, XL, got 3"),
        (["euler"], "solver: expected one of euler, heun, XL, got ['euler']"),
        (None, "solver: expected one of euler, heun, XL, got None"),
    ],
)
def test_an_unknown_kind_is_refused_with_the_nearest(kind, said):
    with pytest.raises(ValueError, match="solver") as refused:
        pick("solver", kind, TABLE)
    assert str(refused.value).startswith(said)


def test_what_is_far_from_all_is_answered_without_a_suggestion():
    assert suggestion("midpoint", TABLE) == ""
