"""What is printed: results on standard output, all else on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

UNBOUNDED = 500  # columns, where nobody looks: a pipe gets whole lines
GAP = 2  # columns
LAST = 14  # columns that the last one is worth


def console(is_error: bool = False) -> Console:
    """Standard output or error; names from the service are text, never markup."""
    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else UNBOUNDED
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def document(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def line(value: Any) -> None:
    """One JSON object, on a line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def say(text: str) -> None:
    """A result for people."""
    console().print(text, soft_wrap=True)


def note(text: str) -> None:
    """A message beside the result."""
    console(is_error=True).print(text, soft_wrap=True)


def sentence(text: str) -> None:
    """A result for people that is broken between words."""
    console().print(text)


def table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = (), spare: Sequence[int] = ()
) -> None:
    """Columns; those in `right` are numbers, those in `spare` go, in this order, where the terminal is too narrow."""
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    where = console()
    widths = [max(map(len, column)) + GAP for column in zip(headers, *cells, strict=True)]
    columns = list(range(len(headers)))
    for i in spare:
        if sum(widths[j] for j in columns[:-1]) + min(widths[-1], LAST) > where.width:
            columns.remove(i)
    shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for i in columns:
        is_last = i == columns[-1]
        justify = "right" if i in right else "left"
        shown.add_column(headers[i], no_wrap=not is_last, justify=justify, overflow="fold" if is_last else "ellipsis")
    for row in cells:
        shown.add_row(*(Text(row[i]) for i in columns))
    where.print(shown)


def blocks(rows: Iterable[Sequence[Any]]) -> None:
    """Name and value, one a line."""
    rows = list(rows)
    width = max(len(str(name)) for name, _ in rows)
    for name, value in rows:
        if value not in (None, "", [], {}):
            say(f"{name:<{width}}  {value}")


def numbers(value: int | float | None) -> str:
    """A number for people."""
    return "" if value is None else f"{value:,}"
