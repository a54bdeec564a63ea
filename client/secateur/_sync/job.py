# Generated from secateur/_async/job.py by client/generate.py: edit that one.
"""A job: watch it, end it, fetch what it delivered."""

from __future__ import annotations

from collections.abc import Iterator, Callable
from pathlib import Path

from secateur import clock, notebook
from secateur._sync.connection import Connection
from secateur._sync.events import follow, pages
from secateur.errors import JobEnded, SecateurError
from secateur.report import Report
from secateur.rounds import Round, last_round
from secateur.rows import ENDED, Delivery, Event, File, JobRow, Metrics, Result
from secateur.sources import OnBytes, PathLike

POLL_SECONDS = 0.5


class Job:
    """A job; `state` is what the service last said of it, `now` the numbers of its last round."""

    def __init__(self, connection: Connection, state: JobRow) -> None:
        self._connection = connection
        self.state = state
        self.now: Round | None = None
        self._report: Report | None = None
        self._path = f"/v1/jobs/{state['id']}"

    def __repr__(self) -> str:
        state = self.state
        return f"<job {self.id}: {state['status']}, {state['progress']:.0%}>"

    def _repr_html_(self) -> str:
        return notebook.job_html(self.state, self.now, self._report, self.url)

    @property
    def id(self) -> str:
        """Its id."""
        return self.state["id"]

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self._connection.url}/jobs/{self.id}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state["status"] in ENDED

    @property
    def result(self) -> Result | None:
        """The numbers of its file, once it has succeeded."""
        return self.state.get("result")

    def refresh(self) -> Job:
        """Ask the service."""
        self.state = self._connection.json("GET", self._path)
        return self

    def wait(self, on_update: Callable[[Job], object] | None = None) -> Job:
        """Wait for the end; in a notebook, a live table shows where it is.

        Args: on_update: called after every look. Raises: JobEnded: it failed or was cancelled; SecateurError.
        """
        show = notebook.live()
        seen: tuple[str | None, int | None] | None = None
        while True:
            self.refresh()
            if (at := (self.state["phase"], self.state["round"])) != seen:
                self.now, seen = last_round(self.metrics()), at
            if self.has_ended and self.state["status"] == "succeeded":
                self.report()
            show(self)
            if on_update:
                on_update(self)
            if self.has_ended:
                break
            clock.sleep(POLL_SECONDS)
        if self.state["status"] != "succeeded":
            raise JobEnded(self.state)
        return self

    def cancel(self) -> Job:
        """Ask for its end. Raises: SecateurError: it has ended already."""
        return self._move("cancel", ("cancelling", "cancelled"))

    def retry(self) -> Job:
        """Queue a failed or cancelled job again; it goes on from its last checkpoint. Raises: SecateurError."""
        return self._move("retry", ("queued", "running"))

    def delete(self) -> None:
        """Remove a job that has ended, and its files. Raises: SecateurError."""
        self._connection.request("DELETE", self._path)

    def report(self) -> Report:
        """The report. Raises: SecateurError: there is none yet."""
        if self._report is None:
            self._report = Report(self._connection.json("GET", f"{self._path}/report"))
        return self._report

    def report_html(self) -> str:
        """The report as a page. Raises: SecateurError: there is none yet."""
        return (self._connection.request("GET", f"{self._path}/report", headers={"Accept": "text/html"})).text

    def metrics(self) -> Metrics:
        """Series of numbers, one entry a round."""
        return self._connection.json("GET", f"{self._path}/metrics")

    def events(self, after: int = 0) -> Iterator[Event]:
        """What happens, from event `after` on, until its end. Raises: SecateurError."""
        return follow(self._connection, self.id, after)

    def warnings(self) -> list[str]:
        """What the job warned of, such as a dense model that is no better than chance."""
        events = pages(self._connection, self.id)
        return [event["data"]["text"] for event in events if event["kind"] == "warning"]

    def webhooks(self) -> list[Delivery]:
        """What became of the messages about its end. Raises: SecateurError."""
        return (self._connection.json("GET", f"{self._path}/webhooks"))["items"]

    def resend(self, message_id: str) -> Delivery:
        """Try a message to its webhook once more. Raises: SecateurError."""
        return self._connection.json("POST", f"{self._path}/webhooks/{message_id}/resend", is_safe=True)

    def files(self) -> list[File]:
        """What it delivered; empty until it has succeeded."""
        return (self._connection.json("GET", f"{self._path}/artifacts"))["items"]

    def download(
        self, folder: PathLike = "out", *names: str, on_bytes: Callable[[str], OnBytes] | None = None
    ) -> list[Path]:
        """Download its files, or those named, such as pruned.onnx; returns where they are.

        Args: on_bytes: makes what is told the bytes of the file of a name. Raises: SecateurError, OSError.
        """
        names = names or tuple(file["name"] for file in self.files())
        if not names:
            raise SecateurError(f"job {self.id} is {self.state['status']}; it has no files")
        return [
            self._connection.download(
                f"{self._path}/artifacts/{name}", Path(folder) / name, on_bytes(name) if on_bytes else None
            )
            for name in names
        ]

    def _move(self, verb: str, reached: tuple[str, ...]) -> Job:
        """A lost answer may be that of a move that was made: look before asking again."""
        tries = self._connection.tries()
        while True:
            try:
                self.state = self._connection.json("POST", f"{self._path}/{verb}")
                return self
            except SecateurError as failure:
                clock.sleep(tries.pause(failure))
            if (self.refresh()).state["status"] in reached:
                return self
