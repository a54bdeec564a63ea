"""Who is next: priorities, fair shares, queues, limits, on real databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from store import artifacts, datasets, jobs, models, turns
from store.database import reading, writing
from store.settings import settings
from store.tables import Job


@pytest.fixture
def ask(db):
    """Queue jobs: ask("anna", 3, priority=1) gives their ids."""
    with writing() as session:
        uploads = {
            owner: (
                models.add(session, owner, "m", artifacts.put(b"model"))[0].id,
                datasets.add(session, owner, "d", artifacts.put(b"data"), "npz", {})[0].id,
            )
            for owner in ("anna", "bert", "carl")
        }

    def queue(owner: str, number: int = 1, **more) -> list[str]:
        with writing() as session:
            made = [jobs.create(session, owner, jobs.Request(*uploads[owner], {}, **more))[0] for _ in range(number)]
        return [job.id for job in made]

    return queue


def take(*queues: str) -> Job | None:
    with writing() as session:
        return jobs.take(session, queues or ("cpu",), "w")


def took(*queues: str) -> str:
    job = take(*queues)
    assert job is not None
    return job.id


def order(number: int) -> list[str]:
    """Owners in the order in which their jobs are taken."""
    return [job.owner for _ in range(number) if (job := take())]


def test_one_owner_is_served_in_the_order_of_asking(ask):
    ids = ask("anna", 5)
    assert [took() for _ in ids] == ids
    assert take() is None


def test_owners_alternate_however_many_jobs_one_has(ask):
    ask("anna", 6)
    assert order(2) == ["anna", "anna"]
    ask("bert", 3)
    ask("carl", 1)
    assert order(8) == ["anna", "bert", "carl", "anna", "bert", "anna", "bert", "anna"]


def test_nobody_saves_up_turns_by_waiting(ask):
    ask("anna", 50)
    order(40)
    ask("bert", 4)  # idle until now, and no further ahead for it
    assert order(8) == ["anna", "bert"] * 4


def test_the_higher_priority_goes_first_and_shares_alike(ask):
    low, high = ask("anna", 2), ask("anna", 2, priority=5) + ask("bert", 2, priority=5)
    assert order(4) == ["anna", "bert", "anna", "bert"]
    assert {took(), took()} == set(low)
    assert len(high) == 4


def test_a_worker_takes_only_what_it_can_run(ask):
    (gpu,), (large,), (small,) = ask("anna", queue="gpu"), ask("anna", queue="cpu-large"), ask("anna")
    assert took("cpu") == small
    assert take("cpu") is None
    assert {took("gpu", "cpu-large"), took("gpu", "cpu-large")} == {gpu, large}


def test_places_are_those_in_which_jobs_are_taken(ask):
    ask("anna", 3)
    ask("bert", 2, queue="gpu")
    ask("bert", 2)
    ask("carl", 1, priority=1)
    with reading() as session:
        places = turns.places(session)
    taken = [took() for _ in range(6)]
    assert [places[id] for id in taken] == [1, 2, 3, 4, 5, 6]
    assert [places[took("gpu")] for _ in range(2)] == [1, 2]


def test_no_more_of_one_owner_run_than_may(ask, monkeypatch):
    monkeypatch.setenv("SECATEUR_AUTH", "true")  # without keys there are no limits
    monkeypatch.setenv("SECATEUR_MAX_JOBS_RUNNING", "2")
    settings.cache_clear()
    first, *_ = ask("anna", 5)
    ask("bert", 1)
    assert order(4) == ["anna", "bert", "anna"]  # two of anna's run, and nobody else waits
    with writing() as session:
        assert turns.waits(session, "cpu") and jobs.take(session, ["cpu"], "w") is None
        jobs.fail(session, first, 1, "because")
    assert order(2) == ["anna"]


def test_a_job_that_comes_back_keeps_its_turn(ask):
    first, second = ask("anna", 2)
    assert took() == first
    with writing() as session:
        jobs.lose(session, first, 1, "killed")
    assert took() == first and took() == second


def test_many_workers_take_every_job_once(ask):
    ids = ask("anna", 40) + ask("bert", 40)
    with ThreadPoolExecutor(8) as workers:
        taken = [job.id for job in workers.map(lambda _: take(), range(100)) if job]
    assert sorted(taken) == sorted(ids)
