"""The scorers' clock: it makes records that the scorers take."""

from __future__ import annotations

from tools.bench_scorers import main


def test_every_scorer_is_timed(capsys):
    main(["--records", "30"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["geneval", "dpg", "geneval2"]
    assert all(" s, " in line for line in lines)
