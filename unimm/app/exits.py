"""From exceptions to exit codes: a user's mistake is one line on stderr, and so is a warning."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

# What a user can cause: bad values, missing or unreadable files, a full disk, an extra not installed.
USER_ERRORS = (ValueError, OSError, ImportError)
USER_ERROR, BUG, INTERRUPTED = 2, 1, 130
UsageError = typer.BadParameter.__base__  # typer keeps the class under a private name
OPTIONS = {"num_inference_steps": "--steps", "guidance_interval": "--interval"}
"""Options of the command line by their names in Python, where those are not the same words."""


def run(app: typer.Typer, arguments: Sequence[str], debug: bool = False) -> int:
    """Run a command line and return its exit code.

    0 is success, 2 a user's mistake (one line on stderr), 130 an interruption by Ctrl-C, 1 anything else.

    Args:
        app: the commands.
        arguments: what stands after the program's name.
        debug: raise errors instead of telling them in a line, and say where warnings come from.
    """
    with warnings.catch_warnings():
        if not debug:
            warnings.showwarning = _tell
        return _code_of(app, arguments, debug)


def _code_of(app: typer.Typer, arguments: Sequence[str], debug: bool) -> int:
    try:
        return app(args=list(arguments), prog_name="unimm", standalone_mode=False) or 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (KeyboardInterrupt, typer.Abort):
        return say("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `unimm ... | head`: whoever read us has left, which is no mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BUG
    except UsageError as error:
        where = getattr(error.ctx, "command_path", "unimm") if error.ctx else "unimm"
        return say(f"{error.format_message()} (see {where} --help)", USER_ERROR)
    except USER_ERRORS as error:
        if debug:
            raise
        return say(_as_asked(describe(error), arguments), USER_ERROR)
    except Exception as error:
        if debug:
            raise
        return say(f"{type(error).__name__}: {error}; run it again with --debug for the traceback", BUG)


def _tell(message: Warning | str, *origin: Any, **more: Any) -> None:
    """Print a warning as one line; what Python says of its origin is a line of ours."""
    say(str(message), USER_ERROR)


def describe(error: BaseException) -> str:
    """Return an error's message and its notes; of the operating system's, what failed and on which file."""
    return "; ".join([_message(error), *getattr(error, "__notes__", ())])


def _as_asked(message: str, arguments: Sequence[str]) -> str:
    """Return a message that begins with Python's name of an option by the name that it was given by here."""
    name, colon, rest = message.partition(":")
    option = OPTIONS.get(name)
    given = colon and option in (argument.partition("=")[0] for argument in arguments)
    return f"{option} ({name}):{rest}" if given else message


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return f"{' -> '.join(names)}: {error.strerror}" if names else error.strerror
    return str(error) or type(error).__name__


def say(message: str, code: int) -> int:
    """Print one line to stderr and return the exit code."""
    print("unimm:", " ".join(message.split()), file=sys.stderr)
    return code
