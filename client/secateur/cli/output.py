"""What is printed: results on standard output, all else on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

UNBOUNDED = 500  # columns, where nobody looks: a pipe gets whole lines


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


def table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], whole: Sequence[int] = (0,), right: Sequence[int] = ()
) -> None:
    """Columns; those in `whole` are never broken, those in `right` are numbers."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i, header in enumerate(headers):
        shown.add_column(header, no_wrap=i in whole, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text("" if value is None else str(value)) for value in row))
    console().print(shown)


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
