"""secateur-admin jobs."""

from typing import Annotated, Any

import typer

from admin.printed import Json, Sentences, document, duration, objects, table
from store import job_lists, jobs, stuck
from store.database import reading, writing
from store.jobs import MOVES
from store.queue import sender
from store.tables import Job

app = typer.Typer(help="Jobs of everyone: what is stuck, and what to do.", no_args_is_help=True, cls=Sentences)
SHOWN = ("id", "owner", "status", "phase", "progress", "attempt", "worker", "error", "created_at", "finished_at")
JobId = Annotated[str, typer.Argument(metavar="ID", help="job_...")]


@app.command("list")
def listing(
    status: Annotated[str | None, typer.Option(help=f"{', '.join(MOVES)}.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    json: Json = False,
) -> None:
    """Jobs of all owners, newest first."""
    if status is not None and status not in MOVES:
        raise typer.BadParameter(f"there is no status {status}; there are {', '.join(MOVES)}")
    with reading() as session:
        found = job_lists.of_everyone(session, status, limit)
    if json:
        document([{name: getattr(job, name) for name in SHOWN} for job in found])
    else:
        headers = ("id", "owner", "status", "phase", "done", "attempt", "worker", "error")
        table(headers, [_cells(job) for job in found], "there are no such jobs")


@app.command("stuck")
def show_stuck(
    seconds: Annotated[float, typer.Option(min=0, help="Waiting is stuck after so long.")] = 60, json: Json = False
) -> None:
    """Jobs and uploads that do not move, why, and what to do."""
    with reading() as session:
        found = stuck.find(session, seconds)
    if json:
        objects(found)
        return
    for row in found:
        typer.echo(f"{row.id} is {row.status} for {duration(row.seconds)}: {row.reason}\n    {row.advice}")
    if not found:
        typer.echo("nothing is stuck")


@app.command()
def requeue(id: JobId, json: Json = False) -> None:
    """Queue a job again, from its checkpoint; whoever runs it now is stopped."""
    with writing() as session:
        job = jobs.requeue(session, id)
    woken = sender.wake("job", id, job.queue)
    beside = "" if woken else "; the broker does not answer: a worker will be told when it does"
    _tell(job, f"{id} is queued again and goes on from its checkpoint{beside}", json)


@app.command()
def fail(
    id: JobId,
    reason: Annotated[str, typer.Option(help="What its owner reads as the error.")],
    json: Json = False,
) -> None:
    """End a job that has not ended; one that is being cancelled is cancelled."""
    with writing() as session:
        job = jobs.give_up(session, id, reason)
    _tell(job, f"{id} is {job.status}: {reason}", json)


def _tell(job: Job, text: str, is_json: bool) -> None:
    document({name: getattr(job, name) for name in SHOWN}) if is_json else typer.echo(text)


def _cells(job: Job) -> tuple[Any, ...]:
    return job.id, job.owner, job.status, job.phase, f"{job.progress:.0%}", job.attempt, job.worker, job.error
