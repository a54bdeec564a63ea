import asyncio
import threading
import time

from api import readiness
from api.readiness import NO_ANSWER, OK, TOO_LATE, Readiness
from store.checks import NotReady
from tests.conftest import run_async


def test_one_that_hangs_holds_up_nobody_and_is_asked_once(monkeypatch):
    monkeypatch.setattr(readiness, "DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0.0)
    release, asked = threading.Event(), []

    def hangs() -> None:
        asked.append(1)
        assert release.wait(30)

    ready = Readiness({"hangs": hangs, "well": lambda: None})
    assert run_async(ready.look()) == {"hangs": TOO_LATE, "well": OK}
    assert run_async(ready.look())["hangs"] == TOO_LATE and len(asked) == 1
    release.set()
    end = time.monotonic() + 10
    while run_async(ready.look())["hangs"] != OK:
        assert time.monotonic() < end


def test_a_reason_of_ours_is_told_and_one_of_a_driver_is_not():
    def ours() -> None:
        raise NotReady("no space is left")

    def driver() -> None:
        raise ConnectionError("redis://:hunter2@10.0.0.1/0 refused")

    assert run_async(Readiness({"a": ours, "b": driver}).look()) == {"a": "no space is left", "b": NO_ANSWER}


def test_checks_run_at_the_same_time():
    both = threading.Barrier(2, timeout=1)
    found = run_async(Readiness({"a": both.wait, "b": both.wait}).look())  # type: ignore[dict-item]
    assert found == {"a": OK, "b": OK}


def test_answers_are_kept_for_a_second():
    asked = []
    ready = Readiness({"a": lambda: asked.append(1)})

    async def thrice() -> None:
        await asyncio.gather(ready.look(), ready.look())
        await ready.look()

    run_async(thrice())
    assert len(asked) == 1
