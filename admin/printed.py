"""What commands print: results on standard output, in columns or as JSON; errors as sentences on standard error."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from kombu.exceptions import OperationalError as BrokerAway
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from typer.core import TyperGroup

from store.errors import StoreError

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
GAP = "  "


class Sentences(TyperGroup):
    """A group of commands whose errors are sentences, with exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (StoreError, DBAPIError, BrokerAway, ValidationError, OSError) as error:
            typer.echo(f"error: {sentence(error)}", err=True)
            raise typer.Exit(1) from error


def sentence(error: Exception) -> str:
    """What went wrong, without a traceback."""
    if isinstance(error, DBAPIError):
        return f"the database does not answer, or was not migrated ({_first_line(error.orig)})"
    if isinstance(error, BrokerAway):
        return f"the broker does not answer ({_first_line(error)})"
    if isinstance(error, ValidationError):
        return "; ".join(str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors())
    return str(error)


def document(value: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def objects(rows: Sequence[Any]) -> None:
    """Dataclasses as a JSON list."""
    document([asdict(row) for row in rows])


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], none: str) -> None:
    """Columns; `none` is said where there are no rows."""
    if not rows:
        typer.echo(none)
        return
    lines = [headers, *([str(cell) if cell is not None else "" for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    for line in lines:
        typer.echo(GAP.join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def duration(seconds: float) -> str:
    """Such as 12 s, 5 min, 3 h, 2 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(bytes: int) -> str:
    """Such as 12.3 GB."""
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e8 else f"{bytes / 1e6:.1f} MB"


def _first_line(error: object) -> str:
    return str(error).strip().split("\n")[0]
