"""A job: watch it, end it, fetch what it delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from secateur import clock, notebook
from secateur._async.connection import AsyncConnection
from secateur._async.events import follow, pages
from secateur.errors import JobEnded, SecateurError
from secateur.report import Report
from secateur.rounds import Round, last_round
from secateur.rows import ENDED, Delivery, Event, File, JobRow, Metrics, Result
from secateur.sources import OnBytes, PathLike

POLL_SECONDS = 0.5


class AsyncJob:
    """A job; `state` is what the service last said of it, `now` the numbers of its last round."""

    def __init__(self, connection: AsyncConnection, state: JobRow) -> None:
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

    async def refresh(self) -> AsyncJob:
        """Ask the service."""
        self.state = await self._connection.json("GET", self._path)
        return self

    async def wait(self, on_update: Callable[[AsyncJob], object] | None = None) -> AsyncJob:
        """Wait for the end; in a notebook, a live table shows where it is.

        Args: on_update: called after every look. Raises: JobEnded: it failed or was cancelled; SecateurError.
        """
        show = notebook.live()
        seen: tuple[str | None, int | None] | None = None
        while True:
            await self.refresh()
            if (at := (self.state["phase"], self.state["round"])) != seen:
                self.now, seen = last_round(await self.metrics()), at
            if self.has_ended and self.state["status"] == "succeeded":
                await self.report()
            show(self)
            if on_update:
                on_update(self)
            if self.has_ended:
                break
            await clock.asleep(POLL_SECONDS)
        if self.state["status"] != "succeeded":
            raise JobEnded(self.state)
        return self

    async def cancel(self) -> AsyncJob:
        """Ask for its end. Raises: SecateurError: it has ended already."""
        return await self._move("cancel", ("cancelling", "cancelled"))

    async def retry(self) -> AsyncJob:
        """Queue a failed or cancelled job again; it goes on from its last checkpoint. Raises: SecateurError."""
        return await self._move("retry", ("queued", "running"))

    async def delete(self) -> None:
        """Remove a job that has ended, and its files. Raises: SecateurError."""
        await self._connection.request("DELETE", self._path)

    async def report(self) -> Report:
        """The report. Raises: SecateurError: there is none yet."""
        if self._report is None:
            self._report = Report(await self._connection.json("GET", f"{self._path}/report"))
        return self._report

    async def report_html(self) -> str:
        """The report as a page. Raises: SecateurError: there is none yet."""
        return (await self._connection.request("GET", f"{self._path}/report", headers={"Accept": "text/html"})).text

    async def metrics(self) -> Metrics:
        """Series of numbers, one entry a round."""
        return await self._connection.json("GET", f"{self._path}/metrics")

    def events(self, after: int = 0) -> AsyncIterator[Event]:
        """What happens, from event `after` on, until its end. Raises: SecateurError."""
        return follow(self._connection, self.id, after)

    async def warnings(self) -> list[str]:
        """What the job warned of, such as a dense model that is no better than chance."""
        events = await pages(self._connection, self.id)
        return [event["data"]["text"] for event in events if event["kind"] == "warning"]

    async def webhooks(self) -> list[Delivery]:
        """What became of the messages about its end. Raises: SecateurError."""
        return (await self._connection.json("GET", f"{self._path}/webhooks"))["items"]

    async def resend(self, message_id: str) -> Delivery:
        """Try a message to its webhook once more. Raises: SecateurError."""
        return await self._connection.json("POST", f"{self._path}/webhooks/{message_id}/resend", is_safe=True)

    async def files(self) -> list[File]:
        """What it delivered; empty until it has succeeded."""
        return (await self._connection.json("GET", f"{self._path}/artifacts"))["items"]

    async def download(
        self, folder: PathLike = "out", *names: str, on_bytes: Callable[[str], OnBytes] | None = None
    ) -> list[Path]:
        """Download its files, or those named, such as pruned.onnx; returns where they are.

        Args: on_bytes: makes what is told the bytes of the file of a name. Raises: SecateurError, OSError.
        """
        names = names or tuple(file["name"] for file in await self.files())
        if not names:
            raise SecateurError(f"job {self.id} is {self.state['status']}; it has no files")
        return [
            await self._connection.download(
                f"{self._path}/artifacts/{name}", Path(folder) / name, on_bytes(name) if on_bytes else None
            )
            for name in names
        ]

    async def _move(self, verb: str, reached: tuple[str, ...]) -> AsyncJob:
        """A lost answer may be that of a move that was made: look before asking again."""
        tries = self._connection.tries()
        while True:
            try:
                self.state = await self._connection.json("POST", f"{self._path}/{verb}")
                return self
            except SecateurError as failure:
                await clock.asleep(tries.pause(failure))
            if (await self.refresh()).state["status"] in reached:
                return self
