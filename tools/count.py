"""Count parameters and multiply-accumulates: python -m tools.count DiT^DH-XL [...] | --all | --list

Give names of published networks, or a config file with key=value. Everything is for one picture and one
evaluation; "tables" are constants that published totals include (positions, time frequencies). `--json FILE`
writes the numbers too.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from unimm.training.count import Count, Counts, total
from unimm.training.counted_files import count_file
from unimm.training.inventory import count_named, names


def count_all(asked: list[str]) -> dict[str, Counts]:
    """Return the counts of everything asked for: names, files, and overrides of the files."""
    known, files = set(names()), [word for word in asked if word.endswith((".yaml", ".yml"))]
    overrides = [word for word in asked if "=" in word and word not in known]
    if overrides and not files:
        raise ValueError(f"overrides: expected a config file beside {overrides}, got none")
    found = {}
    for word in asked:
        if word in files:
            found[word] = count_file(word, overrides)
        elif word not in overrides:
            found[word] = count_named(word)
    return found


def cells(name: str, count: Count) -> tuple[str, ...]:
    """Return a row of the table."""
    return name, f"{count.parameters / 1e6:,.2f}", f"{count.tables / 1e6:,.2f}", f"{count.macs / 1e9:,.3f}"


def table(title: str, rows: dict[str, Count], last: Count | None = None) -> Table:
    """Return a table of counts, with a total where one is given."""
    shown = Table("", title=title, title_justify="left")
    for heading in ("parameters (M)", "tables (M)", "GMAC"):
        shown.add_column(heading, justify="right")
    for name, count in rows.items():
        shown.add_row(*cells(name, count))
    if last is not None:
        shown.add_section()
        shown.add_row(*cells("total", last))
    return shown


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", help="names, config files, key=value for the files")
    parser.add_argument("--all", action="store_true", help="one line for every published network")
    parser.add_argument("--list", action="store_true", help="their names")
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    given = parser.parse_args(argv)
    if given.list:
        print("\n".join(names()))
        return 0
    if not given.what and not given.all:
        parser.error("name something to count, or --all")
    console = Console(width=None if sys.stdout.isatty() else 100)
    try:
        found = count_all(names() if given.all else given.what)
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.all:
        console.print(table("one picture, one evaluation", {n: total(c) for n, c in found.items()}))
    else:
        for name, counts in found.items():
            console.print(table(name, counts, total(counts)))
    if given.json:
        plain = {n: {r: asdict(c) for r, c in {**cs, "total": total(cs)}.items()} for n, cs in found.items()}
        Path(given.json).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
