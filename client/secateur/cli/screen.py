"""What moves on a terminal; in a pipe, a line for each phase."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from secateur import Job
from secateur.cli.output import console, note
from secateur.sources import OnBytes

NARROW = 60  # columns


@contextmanager
def transfer(label: str, afterwards: str = "") -> Iterator[OnBytes | None]:
    """A bar of bytes; `afterwards` stands there once all of them are gone, until the context ends."""
    where = console(is_error=True)
    if not where.is_terminal:
        note(f"{label} ...")
        yield None
        return
    columns = [TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn()]
    more = [] if where.width < NARROW else [TimeRemainingColumn(compact=True)]
    with Progress(*columns, *more, console=where, transient=True, expand=True) as bar:
        task = bar.add_task(_cut(label, where.width // 2), total=None)

        def on_bytes(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if done >= total and afterwards:
                bar.update(task, description=_cut(afterwards, where.width // 2))

        yield on_bytes


class Watch:
    """One job: a bar with phase, round and time left, the accuracy, and what to expect of the phase."""

    def __init__(self, expect: dict[str, str]) -> None:
        self._expect = expect
        self._where = console(is_error=True)
        self._live = Live(console=self._where, transient=True, auto_refresh=False)
        self._said = ""

    def __enter__(self) -> "Watch":
        if self._where.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, job: Job) -> None:
        """Show where the job is."""
        if self._where.is_terminal:
            self._live.update(self._picture(job), refresh=True)
            return
        step = _step(job)
        if step != self._said:
            self._said = step
            numbers = f", {job.now.in_words()}" if job.now and job.now.in_words() else ""
            note(f"{job.id}: {step}, {job.state['progress']:.0%}{numbers}")

    def _picture(self, job: Job) -> Group:
        state = job.state
        bar = ProgressBar(total=1, completed=state["progress"])
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right")
        is_training = job.now is not None and job.now.phase == state["phase"] and not job.has_ended
        round = f" {state['round']}" if is_training else ""
        seconds = state["eta_seconds"]
        left = f" {_time(seconds)}" if seconds is not None and not job.has_ended else ""
        line.add_row(Text(f"{_step(job)}{round}", "bold"), bar, Text(f"{state['progress']:4.0%}{left}"))
        numbers = job.now.in_words() if job.now else ""
        texts = [Text(numbers)] if numbers else []
        if expected := self._expect.get(state["phase"] or ""):
            texts.append(Text(expected, "dim"))
        return Group(line, *texts)


def _step(job: Job) -> str:
    state = job.state
    if state["status"] == "queued" and state.get("queue_position"):
        return f"queued, number {state['queue_position']}"
    return state["status"] if state["status"] != "running" else state["phase"] or "running"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
