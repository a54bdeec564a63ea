"""The service under load: python -m benchmarks.service [queue|reads|watchers ...] [--production].

queue: 10,000 queued jobs, four workers with a stub of 10 ms. reads: GET of a job and of the list with 100,000 jobs
stored, 200 requests a second. watchers: 200 streams of events of running jobs. --production: on the Redis and the
PostgreSQL that SECATEUR_TEST_REDIS and SECATEUR_TEST_POSTGRES name; else on the embedded default.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import func, select

from benchmarks.results import HOUSE, read_rows, save
from service.parts import parts
from service.supervisor import listen
from store import database, events, jobs, migrate
from store.database import reading, writing
from store.queue import sender
from store.settings import settings
from store.tables import Dataset, Job, Model, new_id
from tests.conftest import redis_url, schema_of_its_own

QUEUED, WORKERS = 10_000, 4
STORED, RATE, SECONDS = 100_000, 200, 30
WATCHERS, RUNNING, EVENTS_A_SECOND = 200, 20, 2


class Load:
    """The broker where it is embedded, and the API: workers are started by who measures them."""

    def __init__(self, folder: Path, url: str) -> None:
        broker = {"SECATEUR_BROKER_URL": redis_url() or ""} if url else {}
        os.environ.update({"SECATEUR_DATA_DIR": str(folder), "SECATEUR_DATABASE_URL": url} | broker)
        migrate.main()
        listener = listen(settings())
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.parts = [part for part in parts(settings(), listener) if part.name in ("broker", "api")]
        for part in self.parts:
            part.start()
        while not self._answers():
            time.sleep(0.1)

    def api(self) -> psutil.Process:
        """Its process."""
        (part,) = (part for part in self.parts if part.name == "api")
        assert part.process is not None
        return psutil.Process(part.process.pid)

    def stop(self) -> None:
        """All of it."""
        for part in reversed(self.parts):
            part.stop()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def load(is_production: bool) -> Iterator[Load]:
    """A service for one measurement."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        schema_of_its_own() if is_production else nullcontext("") as url,
    ):
        running = Load(Path(folder), url)
        try:
            yield running
        finally:
            _forget()
            running.stop()


def _forget() -> None:
    """The next measurement has another database."""
    if database.engine.cache_info().currsize:
        database.engine().dispose()
    sender.__dict__.pop("app", None)
    database.engine.cache_clear()
    settings.cache_clear()


def fill(number: int, status: str, owner: str = "local") -> list[str]:
    """So many jobs on one model and one data set, straight into the database."""
    upload = {"owner": owner, "bytes": 1, "status": "ready", "problems": []}
    plan = {"method": "direct", "budget": {"pruning_rate": 20.0}, "pattern": {"kind": "unstructured"}}
    ids = [new_id("job") for _ in range(number)]
    with writing() as session:
        session.add(Model(id="mdl_1", name="digits.onnx", sha256="0" * 64, analysis={}, **upload))
        reading = {"format": "npz", "preprocess": {}, "reading": "", "summary": {}}
        session.add(Dataset(id="dat_1", name="digits.npz", sha256="1" * 64, **upload, **reading))
        session.flush()
        for start in range(0, number, 1000):
            session.add_all(
                Job(id=id, owner=owner, status=status, model_id="mdl_1", dataset_id="dat_1", plan=plan, turn=i)
                for i, id in enumerate(ids[start : start + 1000], start)
            )
            session.flush()
    return ids


def queue(_: Load) -> dict[str, Any]:
    """Until all are done, from the start of the workers on: their own start counts."""
    ids = fill(QUEUED, "queued")
    for id in ids:
        sender.wake("job", id, "cpu")
    environment = os.environ | settings().for_children()
    start = time.perf_counter()
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.stub_worker", "worker", "-Q", "cpu", "-l", "WARNING"]
    workers = [subprocess.Popen([*command, "-n", f"stub{i}@%h"], cwd=HOUSE, env=environment) for i in range(WORKERS)]
    try:
        while True:
            with reading() as session:
                counted = jobs.count_by_status(session, *jobs.ENDED)
            if counted.get("succeeded", 0) + counted.get("failed", 0) == QUEUED:
                break
            time.sleep(0.25)
        taken = time.perf_counter() - start
    finally:
        for process in workers:
            process.terminate()
        for process in workers:
            process.wait()
    return {"jobs": counted, "twice": _done_twice(), "seconds": round(taken, 1), "a second": round(QUEUED / taken, 1)}


def _done_twice() -> int:

    with reading() as session:
        return session.scalars(select(func.count()).where(Job.attempt != 1)).one()


def reads(running: Load) -> dict[str, Any]:
    """Requests leave when they are due, whatever became of the ones before."""
    ids = fill(STORED - QUEUED, "succeeded")
    paths: list[Callable[[int], str]] = [
        lambda i: f"/v1/jobs/{ids[i * 7919 % len(ids)]}",
        lambda i: "/v1/jobs?limit=50",
        lambda i: f"/v1/jobs/{ids[i * 104_729 % len(ids)]}",
        lambda i: f"/v1/jobs?limit=50&cursor={ids[i * 1299709 % len(ids)]}",
    ]
    taken = asyncio.run(_open_loop(running.url, paths))
    named = {"one job": taken[0] + taken[2], "the list": taken[1] + taken[3]}
    return {
        f"{name}, {quantile}": round(statistics.quantiles(values, n=100)[place], 1)
        for name, values in named.items()
        for quantile, place in (("median ms", 49), ("p99 ms", 98))
    }


async def _open_loop(url: str, paths: list[Callable[[int], str]]) -> list[list[float]]:
    taken: list[list[float]] = [[] for _ in paths]
    limits = httpx.Limits(max_connections=50)

    async def ask(i: int, due: float) -> None:
        response = await http.get(paths[i % len(paths)](i))
        assert response.status_code == 200, response.text
        taken[i % len(paths)].append((time.perf_counter() - due) * 1e3)

    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        start, asked = time.perf_counter(), set[asyncio.Task[None]]()
        for i in range(RATE * SECONDS):
            due = start + i / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asked.add(asyncio.create_task(ask(i, due)))
        await asyncio.gather(*asked)
    return [values[RATE // 4 :] for values in taken]  # the first second warms up


def watchers(running: Load) -> dict[str, Any]:
    """Delay from the event's own time in the database to its arrival."""
    ids = fill(RUNNING, "running")
    stop = threading.Event()
    writer = threading.Thread(target=_tell, args=(ids, stop))
    writer.start()
    try:
        delays, most = asyncio.run(_watch(running.url, ids, running.api()))
    finally:
        stop.set()
        writer.join()
    return {
        "events": len(delays),
        "median s": round(statistics.median(delays), 3),
        "slowest s": round(max(delays), 3),
        "API, MB": round(most / 1e6, 1),
    }


def _tell(ids: list[str], stop: threading.Event) -> None:

    n = 0
    while not stop.wait(1 / (EVENTS_A_SECOND * len(ids))):
        with writing() as session:
            events.append(session, ids[n % len(ids)], "round", {"step": n, "at": time.time()})
        n += 1


async def _watch(url: str, ids: list[str], api: psutil.Process) -> tuple[list[float], int]:
    delays: list[float] = []
    most = 0

    async def one(id: str) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "0"}
        async with http.stream("GET", f"/v1/jobs/{id}/events", headers=headers) as response:
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    told = json.loads(line[5:])["data"]["at"]
                    if told > begun:
                        delays.append(time.time() - told)

    limits = httpx.Limits(max_connections=WATCHERS + 10)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as http:
        begun = time.time() + 5
        streams = [asyncio.create_task(one(ids[i % len(ids)])) for i in range(WATCHERS)]
        for _ in range(SECONDS):
            await asyncio.sleep(1)
            most = max(most, api.memory_info().rss)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    return delays, most


PARTS: dict[str, Callable[[Load], dict[str, Any]]] = {"queue": queue, "reads": reads, "watchers": watchers}


def main(arguments: list[str]) -> None:
    is_production = "--production" in arguments
    where = "production" if is_production else "embedded"
    values = read_rows("service")
    for part in [a for a in arguments if a in PARTS] or list(PARTS):
        with load(is_production) as running:
            for name, value in PARTS[part](running).items():
                values[f"{where}, {part}: {name}"] = value
    save("service", values)


if __name__ == "__main__":
    main(sys.argv[1:])
