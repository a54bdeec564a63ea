"""secateur-admin quotas: limits of accounts."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from store import quotas
from store.database import reading, writing

app = typer.Typer(no_args_is_help=True)
Owner = Annotated[str, typer.Argument(help="The account.")]
Jobs = Annotated[int | None, typer.Option(min=0, help="0: no limit.")]
Bytes = Annotated[int | None, typer.Option(min=0, help="Of models, data sets and delivered files. 0: no limit.")]


@app.command()
def show(owner: Owner) -> None:
    """The limits that hold (null: none; without SECATEUR_AUTH there are none), those of its own, and what is used."""
    with reading() as session:
        shown = {
            "owner": owner,
            "limits": asdict(quotas.of(session, owner)),
            "own": quotas.overrides(session, owner),
            "used": asdict(quotas.used(session, owner)),
        }
    print(json.dumps(shown, indent=2))


@app.command("set")
def put(
    owner: Owner,
    max_jobs_queued: Jobs = None,
    max_jobs_running: Jobs = None,
    max_bytes_stored: Bytes = None,
    max_requests_a_minute: Jobs = None,
    reset: Annotated[bool, typer.Option("--reset", help="First forget all limits of its own.")] = False,
) -> None:
    """Give an account limits of its own; what is left out stays as it is."""
    given = {
        "max_jobs_queued": max_jobs_queued,
        "max_jobs_running": max_jobs_running,
        "max_bytes_stored": max_bytes_stored,
        "max_requests_a_minute": max_requests_a_minute,
    }
    with writing() as session:
        kept = {} if reset else quotas.overrides(session, owner)
        quotas.put(session, owner, kept | {name: value for name, value in given.items() if value is not None})
    show(owner)
