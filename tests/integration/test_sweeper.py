"""What is lost is sent again, but a busy queue does not grow."""

import pytest
import redis
from kombu.exceptions import OperationalError
from sqlalchemy import update

from store import artifacts, datasets, jobs, models
from store.clock import now
from store.database import writing
from store.queue import sender
from store.settings import settings
from store.sweeper import PATIENCE_SECONDS, sweep
from store.tables import Dataset, Job, Model
from tests.conftest import redis_url

pytestmark = pytest.mark.skipif(not redis_url(), reason="SECATEUR_TEST_REDIS names no Redis to test against")


@pytest.fixture
def broker(db, monkeypatch):
    monkeypatch.setenv("SECATEUR_BROKER_URL", redis_url() or "")
    settings.cache_clear()
    sender.__dict__.pop("app", None)
    with redis.Redis.from_url(redis_url() or "") as client:
        client.flushdb()
        yield client
        client.flushdb()
    sender.app.close()
    sender.__dict__.pop("app", None)


def late_jobs(number: int) -> None:
    """Queued long ago, and nobody knows."""
    with writing() as session:
        model, _ = models.add(session, "anna", "m", artifacts.put(b"model"))
        dataset, _ = datasets.add(session, "anna", "d", artifacts.put(b"data"), "npz", {})
        for _ in range(number):
            jobs.create(session, "anna", jobs.Request(model.id, dataset.id, {}))
        later(session)


def later(session, seconds: float = 100) -> None:
    session.execute(update(Job).values(woken_at=now() - seconds))
    session.execute(update(Model).values(created_at=now() - seconds))
    session.execute(update(Dataset).values(created_at=now() - seconds))


def test_lost_messages_are_sent_again_once(broker):
    late_jobs(3)
    sweep()
    assert (broker.llen("cpu"), broker.llen("light")) == (3, 2)
    for _ in range(3):
        with writing() as session:
            later(session)
        sweep()
    assert (broker.llen("cpu"), broker.llen("light")) == (3, 2)
    with writing() as session:
        later(session, PATIENCE_SECONDS + 1)
    sweep()
    assert broker.llen("cpu") == 6  # whatever waits there, these three may be lost
    broker.flushdb()
    with writing() as session:
        later(session)
    sweep()
    assert broker.llen("cpu") == 3


def test_a_broker_that_is_away_only_delays(broker, monkeypatch):
    late_jobs(1)
    monkeypatch.setenv("SECATEUR_BROKER_URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()
    sender.app.close()
    sender.__dict__.pop("app", None)
    assert sender.wake("job", "job_1") is False
    with pytest.raises(OperationalError, match="refused"):
        sweep()
