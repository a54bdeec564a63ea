"""secateur-admin workers."""

import time
from typing import Annotated, Any

import typer

from admin.printed import Json, Sentences, document, duration, size, table
from store import workers
from store.database import reading, writing
from store.workers import Seen

app = typer.Typer(help="Workers: who is there, and who takes work.", no_args_is_help=True, cls=Sentences)
POLL_SECONDS = 0.5
HEADERS = (
    *("id", "state", "queues", "busy with", "done", "seen"),
    *("cores", "memory", "disk free", "GPUs", "processes a job"),
)
WorkerId = Annotated[str, typer.Argument(metavar="ID", help="As `workers list` shows it: host:pid:random.")]


@app.command("list")
def listing(json: Json = False) -> None:
    """Workers that were seen within a day."""
    with reading() as session:
        seen = workers.listing(session)
    if json:
        document([_object(row) for row in seen])
    else:
        table(HEADERS, [_cells(row) for row in seen], "no worker was seen within a day")


@app.command()
def drain(
    id: WorkerId,
    exit: Annotated[
        bool, typer.Option("--exit", help="It ends when it is idle; a supervisor starts a new one.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is idle and takes nothing.")] = False,
) -> None:
    """A worker finishes what it runs and takes nothing more."""
    with writing() as session:
        workers.drain(session, id, exit)
    if wait:
        _wait(id)
    then = "and ends" if exit else "until `secateur-admin workers undrain` or its restart"
    typer.echo(f"{id} finishes what it runs, takes nothing more {then}")


@app.command()
def undrain(id: WorkerId) -> None:
    """A worker takes work again."""
    with writing() as session:
        workers.undrain(session, id)
    typer.echo(f"{id} takes work again")


def state(seen: Seen) -> str:
    """In a word."""
    if seen.is_silent:
        return "silent"
    if not seen.worker.draining:
        return "busy" if seen.worker.busy_with else "idle"
    return "draining" if seen.worker.queues or seen.worker.busy_with else "drained"


def _wait(id: str) -> None:
    """Until the worker says that it is idle and takes nothing, or is gone."""
    while True:
        with reading() as session:
            found = [s for s in workers.listing(session) if s.worker.id == id and not s.is_silent]
        if not found or not (found[0].worker.queues or found[0].worker.busy_with):
            return
        time.sleep(POLL_SECONDS)


def _cells(seen: Seen) -> tuple[Any, ...]:
    row, facts = seen.worker, seen.worker.facts
    return (
        row.id,
        state(seen),
        ", ".join(row.queues),
        row.busy_with,
        row.done,
        f"{duration(seen.seconds)} ago",
        facts["cores"],
        size(facts["memory"]),
        size(facts["disk_free"]),
        ", ".join(facts["gpus"]),
        facts.get("processes", 1),  # workers of older versions do not say it
    )


def _object(seen: Seen) -> dict[str, Any]:
    row = {column.key: getattr(seen.worker, column.key) for column in seen.worker.__table__.columns}
    return row | {"state": state(seen), "seconds_since_seen": round(seen.seconds, 1)}
