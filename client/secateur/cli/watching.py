"""Following a job to its end, and what a user is shown of it then."""

from pathlib import Path
from typing import Any

from secateur import Job, Report, Secateur, SecateurError
from secateur.cli import exits, output
from secateur.cli.screen import Watch, transfer


class Interrupted(Exception):
    """Ctrl-C while a job went on."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"stopped watching; the job goes on: `secateur jobs watch {job.id}` or `secateur jobs cancel {job.id}`"
        )


def follow(client: Secateur, job: Job, is_json_lines: bool = False) -> None:
    """Wait for the end. Raises: JobEnded, Interrupted."""
    last: dict[str, Any] = {}

    def print_changes(now: Job) -> None:
        nonlocal last
        if now.state != last:
            last = dict(now.state)
            output.line(last)

    try:
        with Watch(phases(client)) as watch:

            def on_update(now: Job) -> None:
                watch(now)
                if is_json_lines:
                    print_changes(now)

            job.wait(on_update)
    except KeyboardInterrupt as error:
        raise Interrupted(job) from error


def phases(client: Secateur) -> dict[str, str]:
    """What to expect of each phase; a service that does not say is no error."""
    try:
        return client.methods().get("phases", {})
    except SecateurError:
        return {}


def download(job: Job, folder: Path, names: tuple[str, ...] = ()) -> list[Path]:
    """All files, or those named, each with a bar."""
    found: list[Path] = []
    for name in names or tuple(file["name"] for file in job.files()) or ("pruned.onnx",):
        with transfer(name) as on_bytes:
            found += job.download(folder, name, on_bytes=(lambda _, b=on_bytes: b) if on_bytes else None)
    return found


def show_report(report: Report) -> None:
    """Headline and table."""
    output.sentence(report.headline)
    output.say("")
    output.table(("", "before", "after", ""), report.table(), right=(1, 2, 3))
    for text in report.get("notes", ()):
        output.note(f"note: {text}")


def code_of(job: Job) -> int:
    """The exit code of a job that has succeeded."""
    return exits.GOAL_MISSED if job.state["goal_met"] is False else exits.DONE
