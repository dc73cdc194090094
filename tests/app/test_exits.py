"""A user's mistake is one line and exit code 2; a traceback comes only when asked for."""

from __future__ import annotations

import errno
import warnings

import pytest
import typer

from unimm.app import exits


def app_raising(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def go(number: int = 1) -> None:
        raise error

    return app


def noted(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("steps: expected 1 or more,\n  got 0"), 2, "unimm: steps: expected 1 or more, got 0\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "cat.png"),
            2,
            "unimm: cat.png: No such file",
        ),
        (FileNotFoundError("no model called 'tin'"), 2, "unimm: no model called 'tin'\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "unimm: No space left on device\n"),
        (ImportError("training needs deepspeed: pip install unimm[train]"), 2, "pip install unimm[train]\n"),
        (
            noted(OSError("rank 1 is silent"), "furthest behind is rank 1"),
            2,
            "silent; furthest behind is rank 1\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(2), 2, ""),
        (SystemExit(None), 0, ""),
        (TypeError("a bug"), 1, "unimm: TypeError: a bug; run it again with --debug"),
    ],
)
def test_an_error_becomes_one_line_and_its_exit_code(capsys, error, code, said):
    assert exits.run(app_raising(error), []) == code
    streams = capsys.readouterr()
    assert said in streams.err
    assert streams.err.count("\n") <= 1
    assert streams.out == ""


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="steps"):
        exits.run(app_raising(ValueError("steps")), [], debug=True)


def test_a_wrong_option_is_one_line_too(capsys):
    assert exits.run(app_raising(ValueError()), ["--number", "many"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_success_is_zero():
    app = typer.Typer()
    app.command()(lambda: None)
    assert exits.run(app, []) == 0


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line_and_the_command_goes_on(capsys):
    app = typer.Typer()
    app.command()(lambda: warnings.warn("the weights are\n  others", stacklevel=2))
    assert exits.run(app, []) == 0
    assert capsys.readouterr().err == "unimm: the weights are others\n"
    with pytest.warns(UserWarning, match="the weights are"):  # as Python tells it, with where it comes from
        exits.run(app, [], debug=True)
