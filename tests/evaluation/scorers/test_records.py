"""Records read with care."""

from __future__ import annotations

import pytest

from unimm.evaluation.scorers.records import count_missing, expect_once, field, has_failed, some


def test_a_field_is_there_and_of_its_kind():
    record = {"n": 3, "x": 0.5, "yes": True, "none": None}
    assert field(record, "n", int, "r") == 3
    assert field(record, "x", (int, float), "r") == 0.5
    assert field(record, "yes", bool, "r") is True
    assert field(record, "none", (int, type(None)), "r") is None
    with pytest.raises(ValueError, match=r"^r: expected a field 'm', got n, x, yes, none$"):
        field(record, "m", int, "r")
    with pytest.raises(ValueError, match=r"^r: x: expected int, got 0\.5$"):
        field(record, "x", int, "r")
    with pytest.raises(ValueError, match="expected int or float, got True"):
        field(record, "yes", (int, float), "r")


def test_two_records_of_one_thing_are_refused():
    expect_once("things", ["a", "b"])
    with pytest.raises(ValueError, match=r"things: expected one record each, got several of 'b', 3"):
        expect_once("things", ["a", "b", "b", 3, 3, 3])


def test_what_is_missing_is_named_or_counted():
    assert count_missing("things", "abc", "cba", False) == 0
    assert count_missing("things", "abc", "b", True) == 2
    with pytest.raises(ValueError, match=r"things: expected 3, got 1; missing 'a', 'c'"):
        count_missing("things", "abc", "b", False)
    with pytest.raises(ValueError, match=r"none but the benchmark's own, got 'd'"):
        count_missing("things", "abc", "abcd", True)


def test_long_lists_are_cut():
    assert some(range(7)) == "0, 1, 2, 3, 4 and 2 more"
    assert some(range(5)) == "0, 1, 2, 3, 4"


def test_a_failed_record_says_why():
    assert has_failed({"failed": "truncated"})
    assert not has_failed({"failed": None})
    assert not has_failed({})
