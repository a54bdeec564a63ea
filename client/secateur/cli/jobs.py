"""secateur jobs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from secateur import Job, JobEnded
from secateur.cli import exits, output, watching
from secateur.cli.options import JobId, JobIds, Json, Key, Out, Url, Yes, connected, ids
from secateur.cli.removing import remove
from secateur.report import formatted

app = typer.Typer(help="Jobs: list, watch, cancel, fetch.", no_args_is_help=True)


@app.command("ls")
def listing(
    status: Annotated[str | None, typer.Option(help="queued, running, succeeded, ...")] = None,
    label: Annotated[str | None, typer.Option(help="With this label.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model: mdl_...", autocompletion=ids("models"))] = None,
    search: Annotated[str | None, typer.Option(help="In names, ids and labels.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    all: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Jobs, newest first."""
    with connected(url, key) as client:
        found = client.jobs(status=status, label=label, model=model, search=search, limit=None if all else limit)
    if json:
        output.document([job.state for job in found])
    else:
        headers = ("id", "status", "done", "rate", "accuracy", "created", "model", "name")
        output.table(headers, map(_row, found), right=(2, 3, 4), spare=(5, 4, 3, 2))
    return exits.DONE


@app.command()
def show(id: JobId, json: Json = False, url: Url = None, key: Key = None) -> int:
    """One job as it stands."""
    with connected(url, key) as client:
        job = client.job(id)
    output.document(job.state) if json else output.blocks(_facts(job))
    return exits.DONE


@app.command()
def rm(ids: JobIds, yes: Yes = False, json: Json = False, url: Url = None, key: Key = None) -> int:
    """Remove jobs that have ended, and their files."""
    with connected(url, key) as client:
        return remove(ids, lambda id: client.job(id).delete(), yes, json)


@app.command()
def watch(
    id: JobId,
    json: Annotated[bool, typer.Option("--json", help="A JSON object on a line for each change.")] = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Follow a job to its end."""
    with connected(url, key) as client:
        job = client.job(id)
        try:
            watching.follow(client, job, is_json_lines=json)
        except JobEnded as error:
            if not json:
                raise
            output.note(f"error: {error}")  # its last line is there already
            return exits.REFUSED
        if not json:
            watching.show_report(job.report())
        return watching.code_of(job)


@app.command()
def cancel(id: JobId, json: Json = False, url: Url = None, key: Key = None) -> int:
    """End a job; a running one is gone within seconds."""
    with connected(url, key) as client:
        return _tell(client.job(id).cancel(), json)


@app.command()
def retry(id: JobId, json: Json = False, url: Url = None, key: Key = None) -> int:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    with connected(url, key) as client:
        return _tell(client.job(id).retry(), json)


@app.command()
def report(
    id: JobId,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as a page to this file.")] = None,
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Headline, and the table of before and after."""
    with connected(url, key) as client:
        job = client.job(id)
        if html is not None:
            html.write_text(job.report_html(), encoding="utf-8")
            output.note(f"written to {html}")
        if json:
            output.document(job.report())
        elif html is None:
            watching.show_report(job.report())
    return exits.DONE


@app.command()
def download(
    id: JobId,
    names: Annotated[list[str] | None, typer.Argument(help="Such as pruned.onnx; all when none is named.")] = None,
    out: Out = Path("out"),
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Fetch the files of a job."""
    with connected(url, key) as client:
        files = [str(path) for path in watching.download(client.job(id), out, tuple(names or ()))]
    output.document(files) if json else output.say("\n".join(files))
    return exits.DONE


def _tell(job: Job, json: bool) -> int:
    output.document(job.state) if json else output.say(f"{job.id} is {job.state['status']}")
    return exits.DONE


def _row(job: Job) -> tuple[Any, ...]:
    state, result = job.state, job.result
    rate = f"{result['pruning_rate']:.1f}x" if result else ""
    accuracy = formatted(result["metric"], result["accuracy_pruned"]) if result else ""
    created = state["created_at"][:16].replace("T", " ")
    done, model = f"{state['progress']:.0%}", state.get("model_name")
    return job.id, state["status"], done, rate, accuracy, created, model, state["name"]


def _facts(job: Job) -> list[tuple[str, Any]]:
    state, result = job.state, job.result
    left = state["eta_seconds"]
    return [
        ("id", job.id),
        ("name", state["name"]),
        ("labels", ", ".join(state["labels"])),
        ("status", state["status"]),
        ("place", f"number {place} in the queue" if (place := state["queue_position"]) else None),
        ("phase", state["phase"]),
        ("round", state["round"]),
        ("done", f"{state['progress']:.0%}"),
        ("left", f"{left:.0f} s" if left is not None and not job.has_ended else None),
        (
            "goal met",
            {True: "yes", False: "no"}.get(state["goal_met"] or False) if state["goal_met"] is not None else None,
        ),
        ("error", state["error"]),
        ("result", result["headline"] if result else None),
        ("model", f"{state['model_id']} {state.get('model_name', '')}".strip()),
        ("data", f"{state['dataset_id']} {state.get('dataset_name', '')}".strip()),
        ("attempt", state["attempt"]),
        ("created", state["created_at"]),
        ("started", state["started_at"]),
        ("finished", state["finished_at"]),
        ("webhook", state.get("webhook_url")),
        ("page", job.url),
    ]
