"""secateur-admin keys: make, list and revoke API keys."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from store import keys
from store.database import reading, writing
from store.keys import Scope
from store.tables import Key

app = typer.Typer(no_args_is_help=True)
PAGE, WIDTH = 200, 300
SHOWN = ("id", "owner", "name", "scope", "created_at", "last_used_at", "expires_at", "revoked_at")


@app.command()
def create(
    owner: Annotated[str, typer.Argument(help="The account; it may have several keys.")],
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    scope: Annotated[Scope, typer.Option(help="write includes read; admin includes write.")] = "write",
    expires: Annotated[float | None, typer.Option(min=0, help="Days from now; never, if left out.")] = None,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is stored."""
    with writing() as session:
        _, secret = keys.create(session, owner, name, scope, expires)
    print(secret)


@app.command("list")
def listing(
    owner: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """All keys, newest first; revoked and expired ones too."""
    rows = [_shown(key) for key in _all(owner)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(*(Column(name, no_wrap=True) for name in SHOWN), box=None)
    for row in rows:
        table.add_row(*(row[column] or "" for column in SHOWN))
    Console(width=WIDTH).print(table)  # ids are there to be copied: a narrow terminal wraps, nothing is cut


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it: key_...")]) -> None:
    """Revoke a key, at once, for all processes."""
    with writing() as session:
        key = keys.revoke(session, key_id)
    print(f"{key.id} of {key.owner} is revoked")


def _all(owner: str | None) -> list[Key]:
    found, cursor = [], None
    with reading() as session:
        while True:
            page = keys.listing(session, owner, PAGE, cursor)
            found += page.items
            if (cursor := page.next_cursor) is None:
                return found


def _shown(key: Key) -> dict[str, Any]:
    row = {column: getattr(key, column) for column in SHOWN}
    return {
        column: datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds") if isinstance(value, float) else value
        for column, value in row.items()
    }
