"""secateur-admin queue."""

from dataclasses import asdict

import typer

from admin.printed import Json, Sentences, document, duration, table
from store import stuck, workers
from store.database import reading
from store.queue import sender

app = typer.Typer(help="The queue: what waits, and since when.", no_args_is_help=True, cls=Sentences)


@app.callback()
def queue() -> None:
    """The queue: what waits, and since when."""


@app.command()
def show(json: Json = False) -> None:
    """For each queue: rows that wait, the age of the oldest, messages, and the workers that take them."""
    with reading() as session:
        waiting, seen = stuck.waiting(session), workers.listing(session)
    rows = []
    for line in waiting:
        takers = [worker for worker in seen if worker.takes(line.queue)]
        idle = sum(taker.worker.busy_with is None for taker in takers)
        rows.append({**asdict(line), "messages": sender.depth(line.queue), "workers": len(takers), "idle": idle})
    if json:
        document(rows)
        return
    headers = ("queue", "waiting", "oldest", "messages", "workers", "idle")
    cells = [[r["queue"], r["rows"], duration(r["seconds"]), r["messages"], r["workers"], r["idle"]] for r in rows]
    table(headers, cells, "")
