"""A worker ends itself only where work has waited for it, without a break, and could have been taken."""

from collections.abc import Iterator

import pytest
from kombu.exceptions import OperationalError

from store import stuck
from store.queue import sender
from store.settings import settings
from worker import stall
from worker.presence import here
from worker.stall import STALLED, Watch


def test_only_an_unbroken_wait_counts():
    watch = Watch()
    assert [watch.seconds(True, 0, at) for at in (10, 15, 30)] == [0, 5, 20]
    assert watch.seconds(True, 1, 40) == 0, "a message was taken"
    assert watch.seconds(True, 1, 50) == 10
    assert watch.seconds(False, 1, 60) == 0, "nothing waited"
    assert watch.seconds(True, 1, 70) == 0
    assert watch.seconds(True, 1, 75) == 5
    watch.forget()
    assert watch.seconds(True, 1, 90) == 0, "nobody could look"


class Ended(Exception):
    pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[list[float]]:
    """A worker of the queue `jobs`, where messages and rows wait; a look each time the clock is set."""

    def end(status: int) -> None:
        assert status == STALLED
        raise Ended

    at = [0.0]
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    monkeypatch.setattr(stall, "watch", Watch())
    monkeypatch.setattr("worker.stall.time.monotonic", lambda: at[0])
    monkeypatch.setattr("worker.stall.os._exit", end)
    monkeypatch.setattr("worker.stall.logging.shutdown", lambda: None)
    monkeypatch.setattr(here, "asked_for", ["cpu"])
    monkeypatch.setattr(here, "leave", lambda: None)
    monkeypatch.setattr(sender, "depth", lambda queue: 1)
    monkeypatch.setattr(stuck, "waits", lambda session, queue, seconds: True)
    yield at
    settings.cache_clear()


def look(clock: list[float], at: float) -> None:
    clock[0] = at
    stall.end_if_stalled()


def test_it_ends_after_the_time_of_the_settings(clock):
    look(clock, 0)
    look(clock, 119)
    with pytest.raises(Ended):
        look(clock, 120)


@pytest.mark.parametrize(("name", "value"), [("busy_with", "job_1"), ("draining", True)])
def test_a_worker_that_is_busy_or_drains_stays(clock, monkeypatch, name, value):
    look(clock, 0)
    monkeypatch.setattr(here, name, value)
    look(clock, 500)
    monkeypatch.setattr(here, name, None)
    look(clock, 501)
    look(clock, 620)
    with pytest.raises(Ended):
        look(clock, 621)


def test_an_empty_queue_or_one_without_rows_is_no_stall(clock, monkeypatch):
    look(clock, 0)
    monkeypatch.setattr(sender, "depth", lambda queue: 0)
    look(clock, 500)
    monkeypatch.setattr(sender, "depth", lambda queue: 1)
    monkeypatch.setattr(stuck, "waits", lambda session, queue, seconds: False)
    look(clock, 1000)
    look(clock, 2000)


def test_nothing_counts_while_the_broker_is_away(clock, monkeypatch):
    def away(queue: str) -> int:
        raise OperationalError

    look(clock, 0)
    monkeypatch.setattr(sender, "depth", away)
    with pytest.raises(OperationalError):
        look(clock, 500)
    monkeypatch.setattr(sender, "depth", lambda queue: 1)
    look(clock, 501)
    look(clock, 620)
