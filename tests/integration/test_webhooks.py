"""Messages about ends on real databases, to a real receiver: once for each end, and until they are delivered."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook

from store import artifacts, datasets, deliveries, events, jobs, models, webhook_secrets
from store.clock import now
from store.database import reading, writing
from store.deliveries import PAUSES, Outcome, Taken
from store.errors import NotFound
from store.settings import settings
from store.tables import Delivery, Job, WebhookSecret
from tests.conftest import HOUSE
from tests.receiver import Receiver, receiving
from worker.courier import OF_A_HOST, Courier

OWNER = "anna"
RESULT = {"goal_met": True, "headline": "größer"}


@pytest.fixture
def receiver(db, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("SECATEUR_WEBHOOK_HOSTS", "localhost,127.0.0.0/8")
    settings.cache_clear()
    with receiving() as it:
        yield it


def posted(url: str | None, owner: str = OWNER) -> Job:
    with writing() as session:
        model, _ = models.add(session, owner, "m", artifacts.put(b"model"))
        dataset, _ = datasets.add(session, owner, "d", artifacts.put(b"data"), "npz", {"scale": 1})
        return jobs.create(session, owner, jobs.Request(model.id, dataset.id, {}, "a job", ["x"], webhook_url=url))[0]


def cancelled(url: str | None) -> Job:
    job = posted(url)
    with writing() as session:
        return jobs.cancel(session, OWNER, job.id)


def rows(job: Job) -> list[Delivery]:
    with reading() as session:
        return deliveries.of_job(session, job.id)


def told(job: Job) -> list[str]:
    """Of the events of its webhook."""
    with reading() as session:
        return [e.data["text"] for e in events.after(session, job.id, 0, 100) if e.kind == "webhook"]


def make_due() -> None:
    """Pauses and leases have passed."""
    with writing() as session:
        session.execute(update(Delivery).where(Delivery.next_at.is_not(None)).values(next_at=now() - 1))
        session.execute(update(Delivery).values(leased_until=None))


def until(is_so: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it does not become so"
        time.sleep(0.02)


def delivered_all(courier: Courier) -> None:
    courier()
    until(lambda: not courier._under_way)


@pytest.fixture
def courier() -> Iterator[Courier]:
    stopping = threading.Event()
    yield Courier(stopping)
    stopping.set()
    until(lambda: all(not t.name.startswith("webhook ") for t in threading.enumerate()))


def test_each_end_is_announced_once(receiver: Receiver) -> None:
    job = posted(receiver.url())
    with writing() as session:
        first = jobs.claim(session, job.id, "w")
        assert first is not None
        jobs.fail(session, job.id, 1, "it broke")
        jobs.fail(session, job.id, 1, "late")
        jobs.retry(session, OWNER, job.id)
        jobs.claim(session, job.id, "w")
        jobs.succeed(session, job.id, 2, {}, RESULT)
    failed, succeeded = rows(job)
    assert (failed.type, succeeded.type) == ("job.failed", "job.succeeded") and failed.id != succeeded.id
    message = json.loads(succeeded.payload)
    assert message["type"] == "job.succeeded" and message["timestamp"] == message["data"]["finished_at"]
    said = {k: message["data"][k] for k in ("id", "name", "labels", "status", "error", "goal_met", "result", "path")}
    assert said == {
        **{"id": job.id, "name": "a job", "labels": ["x"], "status": "succeeded", "error": None},
        **{"goal_met": True, "result": RESULT, "path": f"/v1/jobs/{job.id}"},
    }
    assert "plan" not in message["data"] and json.loads(failed.payload)["data"]["error"] == "it broke"


def test_an_end_that_is_not_written_is_not_announced(receiver: Receiver) -> None:
    job = posted(receiver.url())
    with pytest.raises(RuntimeError, match="rolled back"), writing() as session:
        jobs.cancel(session, OWNER, job.id)
        raise RuntimeError("rolled back")
    assert rows(job) == []
    assert rows(cancelled(None)) == []


def test_the_sweeper_announces_what_it_ends(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_MAX_ATTEMPTS", "1")
    settings.cache_clear()
    job = posted(receiver.url())
    with writing() as session:
        jobs.claim(session, job.id, "w")
        session.execute(update(Job).values(lease_until=now() - 1))
        jobs.take_back(session)
    assert [d.type for d in rows(job)] == ["job.failed"]


def test_500_and_then_204(receiver: Receiver, courier: Courier) -> None:
    receiver.statuses = [500, 500, 204]
    job = cancelled(receiver.url())
    for _ in range(3):
        make_due()
        delivered_all(courier)
    [row] = rows(job)
    assert (row.attempts, row.last_error, row.next_at) == (3, None, None) and row.delivered_at is not None
    assert {sent["webhook-id"] for sent, _ in receiver.got} == {row.id} and len(receiver.got) == 3
    with writing() as session:
        secret = webhook_secrets.of(session, OWNER).secret
    for sent, body in receiver.got:
        assert Webhook(secret).verify(body, sent)["data"]["status"] == "cancelled"
    assert told(job) == [
        "127.0.0.1 could not be told of the end: it answered 500; tried again",
        "told 127.0.0.1 of the end",
    ]


def test_pauses_grow_and_end(receiver: Receiver, courier: Courier) -> None:
    receiver.statuses = [500]
    job = cancelled(receiver.url())
    for pause in PAUSES:
        make_due()
        delivered_all(courier)
        with reading() as session:
            left = session.scalars(select(Delivery.next_at - now())).one()
        assert pause - 5 < left <= pause * 1.2
    make_due()
    delivered_all(courier)
    [row] = rows(job)
    assert (row.attempts, row.next_at, row.delivered_at) == (10, None, None) and row.gave_up_at is not None
    assert told(job)[1:] == ["127.0.0.1 could not be told of the end: it answered 500; given up after 10 tries"]
    receiver.statuses = [200]
    with writing() as session:
        deliveries.resend(session, job.id, row.id)
    delivered_all(courier)
    [row] = rows(job)
    assert (row.attempts, row.gave_up_at) == (11, None) and row.delivered_at is not None


def test_410_ends_it_at_once(receiver: Receiver, courier: Courier) -> None:
    receiver.statuses = [410]
    job = cancelled(receiver.url())
    delivered_all(courier)
    assert [(d.attempts, d.next_at) for d in rows(job)] == [(1, None)] and rows(job)[0].gave_up_at is not None


def test_a_delivery_is_taken_by_one(receiver: Receiver) -> None:
    for _ in range(4):
        cancelled(receiver.url())

    def take(_: int) -> Taken | None:
        with writing() as session:
            return deliveries.take(session)

    with ThreadPoolExecutor(8) as pool:
        found = [t.id for t in pool.map(take, range(16)) if t]
    assert len(found) == len(set(found)) == 4


KILLED = """
import os, signal, threading
from store import deliveries
deliveries.settle = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from worker.courier import Courier
Courier(threading.Event())()
threading.Event().wait(30)
"""


def test_a_worker_killed_before_it_could_write_it_down_sends_the_same_again(
    receiver: Receiver, courier: Courier
) -> None:
    job = cancelled(receiver.url())
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=HOUSE, env=environment).returncode == -9
    assert len(receiver.got) == 1 and rows(job)[0].delivered_at is None
    delivered_all(courier)
    assert len(receiver.got) == 1, "its lease holds"
    make_due()
    delivered_all(courier)
    assert [sent["webhook-id"] for sent, _ in receiver.got] == [rows(job)[0].id] * 2
    assert receiver.got[0][1] == receiver.got[1][1] and rows(job)[0].delivered_at is not None


def test_who_comes_back_late_writes_nothing(receiver: Receiver) -> None:
    job = cancelled(receiver.url())

    def take() -> Taken:
        with writing() as session:
            taken = deliveries.take(session)
        assert taken is not None
        return taken

    late = take()
    make_due()
    mine = take()
    with writing() as session:
        deliveries.settle(session, late, Outcome("late"))
        deliveries.settle(session, mine, Outcome())
        deliveries.settle(session, late, Outcome("later"))
    assert rows(job)[0].last_error is None and told(job) == ["told 127.0.0.1 of the end"]


def test_a_slow_receiver_delays_nobody(receiver: Receiver, courier: Courier) -> None:
    with receiving() as slow:
        slow.act = lambda _: (slow.may_go.wait(), None)[1]
        for _ in range(OF_A_HOST + 2):
            cancelled(slow.url(host="localhost"))
        until(lambda: (courier(), len(slow.got) == OF_A_HOST)[1])
        fast = [cancelled(receiver.url()) for _ in range(5)]
        courier()
        until(lambda: all(rows(job)[0].delivered_at for job in fast))
        assert len(slow.got) == OF_A_HOST
    until(lambda: not courier._under_way)


def test_messages_go_with_their_job(receiver: Receiver) -> None:
    job = cancelled(receiver.url())
    with writing() as session:
        taken = deliveries.take(session)
    assert taken is not None
    with writing() as session:
        jobs.remove(session, OWNER, job.id)
    with writing() as session:
        deliveries.settle(session, taken, Outcome())
    assert rows(job) == []
    with writing() as session, pytest.raises(NotFound, match="has no message"):
        deliveries.resend(session, job.id, taken.id)


def test_a_secret_is_made_once_and_the_one_before_signs_for_a_day(db) -> None:
    def of(owner: str) -> str:
        with writing() as session:
            return webhook_secrets.of(session, owner).secret

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: of(OWNER), range(8)))
    [first] = made
    assert first.startswith("whsec_") and of("berta") != first
    with writing() as session:
        second = webhook_secrets.rotate(session, OWNER).secret
        assert webhook_secrets.signing(session, OWNER) == [second, first]
        session.execute(update(WebhookSecret).values(previous_until=now() - 1))
        session.expire_all()
        assert webhook_secrets.signing(session, OWNER) == [second]
