"""Random faults while short jobs come over HTTP: python -m benchmarks.faults [--minutes 20] [--jobs 200] [--seed 1].

Three machines (two with an API, each with a worker of its own for jobs) on a PostgreSQL, a Redis and a disk that are
made for it. What is broken, when and for how long comes from the seed. At the end every job that was accepted must have
succeeded once, or failed for a reason that a fault explains; no file, folder or process may be left over.
"""

import argparse
import hashlib
import heapq
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import onnx
import psutil

from benchmarks.results import HOUSE, save
from store import audit, checkpoints, database, events, job_lists, jobs
from store.database import reading
from store.settings import settings
from store.tables import Job
from tests.fleet import IS_ROOT, JOBS, UPLOADS, Fleet, Machine, small_disk, until

LEASE, SWEEP, GRACE = 15.0, 2.0, 5.0
MODELS = 20
PLAN = {
    "budget": {"pruning_rate": 3},
    "admm": {"rounds": 3, "epochs_per_round": 0.5},
    "retrain": {"epochs": 1},
    "deliver": {"seconds": 0.1},
}
QUIET_SECONDS = (3.0, 10.0)  # between the begin of two faults
LAST_SECONDS = 2400  # for what waits when the faults are over
ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class Fault:
    """What was done: its kind, to whom, and from when to when, by the clock that the database has too."""

    kind: str
    to: str
    begun: float = field(default_factory=time.time)
    over: float | None = None

    def explains(self, at: float, seconds: float) -> bool:
        """Whether it was under way then, or over for no more than so many seconds."""
        return self.begun <= at <= (self.over or at) + seconds


class Breaker:
    """Breaks one thing after the other, and mends what is to be mended. Call from the main thread."""

    def __init__(self, fleet: Fleet, dice: random.Random, has_disk: bool) -> None:
        self.fleet, self.dice = fleet, dice
        self.done: list[Fault] = []
        self.slowest_handover = 0.0
        self._due: list[tuple[float, int, Callable[[], None], Fault]] = []
        self._stopped: dict[int, tuple[float, Fault]] = {}  # by pid: workers that were asked to end
        self._kinds = [kind for kind in KINDS if has_disk or kind != "disk full"]

    def break_one(self) -> None:
        """A fault of a random kind."""
        kind = self.dice.choice(self._kinds)
        KINDS[kind](self, kind)

    def look(self) -> None:
        """Mend what is due; see who has ended that was asked to."""
        while self._due and self._due[0][0] <= time.monotonic():
            self._mend()
        for pid, (since, fault) in list(self._stopped.items()):
            if _is_gone(pid):
                self.slowest_handover = max(self.slowest_handover, time.monotonic() - since)
                fault.over = time.time()
                del self._stopped[pid]
        self.fleet.revive()

    def mend_all(self) -> None:
        """No fault is left."""
        while self._due:
            self._mend()

    def _mend(self) -> None:
        _, _, mend, fault = heapq.heappop(self._due)
        mend()
        fault.over = time.time()

    def _note(self, kind: str, to: str, mend: Callable[[], None] | None = None, seconds: float = 0.0) -> Fault:
        fault = Fault(kind, to)
        self.done.append(fault)
        if mend is None:
            fault.over = fault.begun
        else:
            heapq.heappush(self._due, (time.monotonic() + seconds, len(self.done), mend, fault))
        return fault

    def _machine(self) -> Machine:
        return self.dice.choice(self.fleet.machines)

    def _is_under_way(self, kind: str, to: str) -> bool:
        return any(f.kind == kind and f.to == to and f.over is None for f in self.done)

    def _pid(self, name: str) -> int | None:
        """Of a part of this name on some machine."""
        parts = [part for machine in self.fleet.machines for part in machine.parts if part.name == name]
        part = self.dice.choice(parts)
        return part.process.pid if part.process and part.is_alive() else None

    def kill_process(self, kind: str) -> None:
        """Of a job or an upload."""
        if found := [*self.fleet.work()]:
            process, _, what = self.dice.choice(found)
            self._note(kind, what)
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def kill_part(self, kind: str) -> None:
        """A worker, with the sweeper that is in it, or an API."""
        name = {"worker killed": "jobs", "worker of uploads killed": "light", "API killed": "api"}[kind]
        if pid := self._pid(name):
            self._note(kind, str(pid))
            os.kill(pid, signal.SIGKILL)

    def stop_worker(self, kind: str) -> None:
        """As a deployment does."""
        pid = self._pid("jobs")
        if pid and pid not in self._stopped:
            fault = self._note(kind, str(pid))
            fault.over = None
            self._stopped[pid] = time.monotonic(), fault
            os.kill(pid, signal.SIGTERM)

    def pause_worker(self, kind: str) -> None:
        """For about a lease: it knows nothing of the time that has passed."""
        pid = self._pid("jobs")
        if pid and not self._is_under_way(kind, str(pid)):
            os.kill(pid, signal.SIGSTOP)
            self._note(kind, str(pid), lambda: _go_on(pid), self.dice.uniform(0.5, 1.8) * LEASE)

    def restart_postgres(self, kind: str) -> None:
        """In order, at once, or by SIGKILL."""
        if not self._is_under_way(kind, ""):
            self.fleet.postgres.end(self.dice.choice((signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)))
            self._note(kind, "", self.fleet.postgres.start, self.dice.uniform(0, 0.8) * LEASE)

    def restart_redis(self, kind: str) -> None:
        """Empty."""
        if not self._is_under_way(kind, ""):
            self.fleet.redis.end(signal.SIGKILL)
            self._note(kind, "", self.fleet.redis.start, self.dice.uniform(0, 5))

    def spoil_messages(self, kind: str) -> None:
        """Those that wait are lost, doubled, and put into another order."""
        for _, queue in (JOBS[:2], UPLOADS):
            self.fleet.redis.spoil(queue, self.dice)
        self._note(kind, "")

    def cut_off(self, kind: str) -> None:
        """A machine from both servers, for longer than a lease: what it sends is lost, or comes late."""
        machine = self._machine()
        if self._is_under_way(kind, machine.name):
            return
        is_torn = self.dice.random() < 0.5
        for proxy in machine.network:
            proxy.reset() if is_torn else proxy.hold()
        self._note(kind, machine.name, lambda: _reconnect(machine), self.dice.uniform(1.1, 2.0) * LEASE)

    def shift_clock(self, kind: str) -> None:
        """Of a machine, by an hour."""
        machine = self._machine()
        if not self._is_under_way(kind, machine.name):
            machine.set_clock(self.dice.choice((-3600, 3600)))
            self._note(kind, machine.name, lambda: machine.set_clock(0), self.dice.uniform(5, 60))

    def fill_disk(self, kind: str) -> None:
        """That of files, checkpoints and private folders."""
        if not self._is_under_way(kind, ""):
            filler = self.fleet.disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    pass
            self._note(kind, "", filler.unlink, self.dice.uniform(2, 10))


KINDS: dict[str, Callable[[Breaker, str], None]] = {
    "process killed": Breaker.kill_process,
    "worker killed": Breaker.kill_part,
    "worker of uploads killed": Breaker.kill_part,
    "API killed": Breaker.kill_part,
    "worker stopped": Breaker.stop_worker,
    "worker paused": Breaker.pause_worker,
    "PostgreSQL restarted": Breaker.restart_postgres,
    "Redis restarted empty": Breaker.restart_redis,
    "messages spoiled": Breaker.spoil_messages,
    "machine cut off": Breaker.cut_off,
    "clock an hour off": Breaker.shift_clock,
    "disk full": Breaker.fill_disk,
}


class Stopped(Exception):
    """Nobody waits for the answer any more."""


class Client:
    """Somebody who posts jobs and waits for them, patiently, at whichever API answers."""

    def __init__(self, urls: list[str], number: int, seconds: float, dice: random.Random) -> None:
        self._urls, self._turn = urls, 0
        self._times = sorted(dice.uniform(0, seconds) for _ in range(number))
        self._lock, self.stopping = threading.Lock(), threading.Event()
        self._http = httpx.Client(timeout=8, limits=httpx.Limits(max_connections=100))
        self._model = onnx.load(HOUSE / "examples" / "digits.onnx")
        self._uploading = [threading.Lock() for _ in range(MODELS)]
        self.accepted: dict[int, str] = {}
        self._posted: dict[str, float] = {}
        self.answers: Counter[str] = Counter()
        self.unforeseen: list[str] = []
        self.seconds: dict[str, float] = {}

    def run(self, begun: float) -> None:
        """Until all have ended."""
        with suppress(Stopped), ThreadPoolExecutor(len(self._times)) as hands:
            self._begun, self._dataset = begun, self._upload("datasets", (HOUSE / "examples/digits.npz").read_bytes())
            posts = [hands.submit(self._post, i) for i in range(len(self._times))]
            while len(self.seconds) < len(posts):
                self.stopping.wait(2)
                self._look()
            for post in posts:
                post.result()

    def _look(self) -> None:
        """At all jobs: the newest come first, and those that have ended stay so."""
        cursor, is_done = "", False
        while not is_done:
            page = self._ask("GET", f"/v1/jobs?limit=50{cursor}")
            for job in page["items"]:
                if job["status"] in ENDED and job["id"] in self._posted:
                    self.seconds.setdefault(job["id"], time.monotonic() - self._posted[job["id"]])
            cursor = f"&cursor={page['next_cursor']}"
            is_done = page["next_cursor"] is None or set(self._posted) == set(self.seconds)

    def _post(self, i: int) -> None:
        self.stopping.wait(max(0.0, self._begun + self._times[i] - time.monotonic()))
        with self._uploading[i % MODELS]:
            model = self._upload("models", self._variant(i % MODELS))
        body = {"model_id": model, "dataset_id": self._dataset, "plan": PLAN | {"train": {"seed": i % 50}}}
        ids = {self._ask("POST", "/v1/jobs", {"Idempotency-Key": f"{i}"}, json=body)["id"] for _ in range(1 + i % 2)}
        if len(ids) > 1:
            self.unforeseen.append(f"the same Idempotency-Key gave {', '.join(ids)}")
        self.accepted[i] = id = ids.pop()
        self._posted[id] = time.monotonic()

    def _variant(self, i: int) -> bytes:
        with self._lock:
            self._model.doc_string = f"variant {i}"
            return self._model.SerializeToString()

    def _upload(self, noun: str, content: bytes) -> str:
        while True:
            row = self._ask("POST", f"/v1/{noun}", content=content)
            while row["status"] == "validating":
                time.sleep(0.5)
                row = self._ask("GET", f"/v1/{noun}/{row['id']}")
            if row["status"] == "ready":
                return row["id"]
            self.answers[f"upload rejected: {re.sub('[0-9,]+', 'N', '; '.join(row['problems']))}"] += 1
            self._ask("DELETE", f"/v1/{noun}/{row['id']}")

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
        while not self.stopping.is_set():
            with self._lock:
                self._turn += 1
                url = self._urls[self._turn % len(self._urls)]
            try:
                response = self._http.request(method, url + path, headers=headers, **more)
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
            else:
                self.answers[str(response.status_code)] += 1
                if response.is_success or (method == "DELETE" and response.status_code == 404):
                    return response.json() if response.content else None
                if response.status_code not in (429, 503, 507):
                    self.unforeseen.append(f"{method} {path}: {response.status_code} {response.text[:300]}")
            self.stopping.wait(0.5)
        raise Stopped


class Witness:
    """Sees that no job is in two processes, unless one of them cannot know yet that it has lost it."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self.doubles: list[str] = []

    def look(self) -> None:
        """At what runs now."""
        seen = Counter(what.rpartition(" attempt ")[0] for _, _, what in self._breaker.fleet.work())
        unknowing = {"machine cut off", "worker paused", "PostgreSQL restarted", "process killed", "worker killed"}
        is_excused = any(f.kind in unknowing and f.explains(time.time(), LEASE) for f in self._breaker.done)
        for what, number in seen.items():
            if number > 1 and not is_excused:
                self.doubles.append(f"{what} in {number} processes at {time.time():.1f}")


class Inquest:
    """What became of the jobs, held against the faults."""

    def __init__(self, fleet: Fleet, faults: list[Fault], machines: dict[int, str]) -> None:
        self._fleet, self._faults, self._machines = fleet, faults, machines
        self.wrong: list[str] = []
        self.losses: Counter[str] = Counter()

    def job(self, id: str) -> str:
        """Its status."""
        with reading() as session:
            job, told = session.get_one(Job, id), events.after(session, id, 0, 10_000)
            files = jobs.files(session, job.id)
        statuses = [(e.data["status"], e.data, e.at) for e in told if e.kind == "status"]
        names = [status for status, _, _ in statuses]
        self._must([e.seq for e in told] == list(range(1, len(told) + 1)), f"{id}: events have gaps")
        self._must(sum(n in ENDED for n in names) == 1 and names[-1] == job.status, f"{id}: it is {names}")
        self._must(names.count("running") == job.attempt, f"{id}: {job.attempt} attempts, but {names}")
        self._must(job.status in ("succeeded", "failed"), f"{id}: it is {job.status}")
        self._must(bool(files) == (job.status == "succeeded"), f"{id}: it is {job.status} with {len(files)} files")
        attempt = 0
        for status, data, at in statuses:
            attempt += status == "running"
            if reason := data.get("reason") or data.get("error"):
                self._explain(id, attempt, str(reason), at)
        return job.status

    def files(self, client: httpx.Client, id: str) -> int:
        """Those that it delivered, read over HTTP."""
        listed = client.get(f"/v1/jobs/{id}/artifacts").json()["items"]
        self._must("pruned.onnx" in [file["name"] for file in listed], f"{id}: it has no pruned.onnx")
        for file in listed:
            content = client.get(f"/v1/jobs/{id}/artifacts/{file['name']}").content
            self._must(hashlib.sha256(content).hexdigest() == file["sha256"], f"{id}: {file['name']} is damaged")
        return len(listed)

    def left_over(self) -> list[str]:
        """Files and folders that nobody should find any more."""
        root = Path(settings().artifacts_at)
        found = [finding.text for finding in audit.audit()]
        with reading() as session:
            resumable = {job.id for job in job_lists.of_everyone(session, "failed", 10_000) if job.checkpoint}
        found += [f"checkpoints of {id}" for id in checkpoints.jobs() if id not in resumable]
        found += [str(path) for name in ("incoming-*", "leaving-*", "transfer-*") for path in root.rglob(name)]
        found += [str(path) for path in root.rglob("*.part")]
        for machine in self._fleet.machines:
            data = self._fleet.disk / machine.name
            found += [str(path) for path in [*(data / "work").glob("*"), *(data / "cache").glob("*/incoming-*")]]
            found += [str(path) for path in (machine.folder / "tmp").glob("*")]
        return found

    def _explain(self, id: str, attempt: int, reason: str, at: float) -> None:
        """A reason is true if a fault of that kind had been done to it, or to who had it."""
        said = re.sub(r"its process or its worker was lost \d times; the last time: ", "", reason)
        worker = re.fullmatch(r"worker (\S+):(\d+):\w+ was silent for longer than its lease", said)
        self.losses["its worker was silent for longer than its lease" if worker else said] += 1
        if worker:
            pid = worker[2]
            kinds = {"worker killed": pid, "worker stopped": pid, "worker paused": pid, "PostgreSQL restarted": ""}
            kinds["machine cut off"] = self._machines.get(int(pid), "")
            is_true = self._was(kinds, at, 2 * LEASE)
        elif said == "its process was killed or crashed":
            is_true = self._was({"process killed": f"job {id} attempt {attempt}"}, at, 120)
        elif said == "its worker was stopped":
            is_true = any(f.kind == "worker stopped" and f.explains(at, 5) for f in self._faults)
        elif said == "the database was away for too long":
            is_true = any(
                f.kind in ("PostgreSQL restarted", "machine cut off") and f.explains(at, LEASE) for f in self._faults
            )
        else:
            is_true = "no space left" in said and self._was({"disk full": ""}, at, LEASE)
        self._must(is_true, f"{id} attempt {attempt}: no fault explains {reason!r} at {at:.1f}")

    def _was(self, kinds: dict[str, str], at: float, seconds: float) -> bool:
        return any(kinds.get(f.kind) == f.to and f.explains(at, seconds) for f in self._faults)

    def _must(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self.wrong.append(otherwise)


def build(disk: Path | None) -> Fleet:
    """Machines that are yet to be started."""
    return Fleet(
        disk, lease_seconds=LEASE, sweep_seconds=SWEEP, grace_seconds=GRACE, stall_seconds=30, handover_seconds=20
    )


def populate(fleet: Fleet) -> list[str]:
    """Three machines; returns where their two APIs are."""
    for name in ("first", "second", "third"):
        machine = fleet.machine(name)
        if name != "third":
            machine.add_api(fleet.listener())
        machine.add_worker(*JOBS)
        if name != "second":
            machine.add_worker(*UPLOADS)
    return [machine.url for machine in fleet.machines if machine.url]


def measure(fleet: Fleet, options: argparse.Namespace, has_disk: bool) -> dict[str, Any]:
    """The faults, the end, and what was found then."""
    urls = populate(fleet)
    dice = random.Random(options.seed)
    breaker, seconds = Breaker(fleet, dice, has_disk), options.minutes * 60
    witness, machines = Witness(breaker), dict[int, str]()
    client = Client(urls, options.jobs, seconds * 0.95, random.Random(options.seed + 1))
    fleet.start()
    begun = time.monotonic()
    load = threading.Thread(target=client.run, args=(begun,))
    load.start()
    try:
        next_fault, is_over = begun + 20, False
        while load.is_alive() and time.monotonic() < begun + seconds + LAST_SECONDS:
            at = time.monotonic()
            if not is_over and at > begun + seconds:
                is_over = True
                breaker.mend_all()
                print(f"the faults are over: {len(breaker.done)}; {len(client.seconds)} jobs have ended", flush=True)
            if not is_over and at > next_fault:
                breaker.break_one()
                next_fault = at + dice.uniform(*QUIET_SECONDS)
            breaker.look()
            witness.look()
            machines |= {p.process.pid: m.name for m in fleet.machines for p in m.parts if p.process}
            load.join(0.5)
    finally:
        client.stopping.set()
    waited = time.monotonic() - begun - seconds
    found = conclude(fleet, breaker, client, witness, machines)
    if len(client.accepted) != options.jobs:
        found["wrong"].append(f"{len(client.accepted)} of {options.jobs} jobs were accepted")
    return found | {"seconds until the last had ended": round(waited)}


def conclude(
    fleet: Fleet, breaker: Breaker, client: Client, witness: Witness, machines: dict[int, str]
) -> dict[str, Any]:
    """Everything is held against everything."""
    os.environ.update(fleet.variables("direct", fleet.postgres.port, fleet.redis.port))
    settings.cache_clear()
    database.engine.cache_clear()
    inquest = Inquest(fleet, breaker.done, machines)
    statuses = Counter(inquest.job(id) for id in client.accepted.values())
    with reading() as session:
        rows = session.query(Job).count()
    with httpx.Client(base_url=fleet.machines[0].url, timeout=60) as http:
        with reading() as session:
            done = [job.id for job in job_lists.of_everyone(session, "succeeded", 10_000)]
        files = sum(inquest.files(http, id) for id in done)
    with suppress(AssertionError):
        until(lambda: not inquest.left_over(), "all is collected", 10 * GRACE)
    left = inquest.left_over()
    database.engine().dispose()
    fleet.stop()
    processes = [" ".join(process.cmdline()) for process in fleet.processes()]
    wrong = [*inquest.wrong, *client.unforeseen, *witness.doubles]
    if rows != len(client.accepted):
        wrong.append(f"{rows} jobs are stored, {len(client.accepted)} were accepted")
    slow = sorted(client.seconds.values())
    return {
        "faults": len(breaker.done),
        **{f"faults: {kind}": number for kind, number in sorted(Counter(f.kind for f in breaker.done).items())},
        "jobs accepted": len(client.accepted),
        **{f"jobs {status}": number for status, number in sorted(statuses.items())},
        "files delivered, hashes right": files,
        **{f"taken from a worker: {said}": number for said, number in inquest.losses.most_common()},
        **{f"answers: {said}": number for said, number in sorted(client.answers.items())},
        "median seconds of a job": round(slow[len(slow) // 2], 1) if slow else None,
        "longest seconds of a job": round(slow[-1], 1) if slow else None,
        "slowest hand-over after SIGTERM, s": round(breaker.slowest_handover, 1),
        "wrong": wrong,
        "files left over": left,
        "processes left over": processes,
        "log of faults": [f"{f.begun:.1f} to {f.over or 0:.1f}: {f.kind} {f.to}" for f in breaker.done],
    }


def _is_gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _reconnect(machine: Machine) -> None:
    for proxy in machine.network:
        proxy.release()


def _disk(folder: Path) -> AbstractContextManager[Path | None]:
    return small_disk(folder, "512m") if IS_ROOT else nullcontext()


def main() -> None:
    asked = argparse.ArgumentParser(description="Random faults while short jobs come over HTTP.")
    asked.add_argument("--minutes", type=float, default=20)
    asked.add_argument("--jobs", type=int, default=200)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--keep", type=Path, help="copy logs here")
    options = asked.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # all that was started is ended first
    with tempfile.TemporaryDirectory() as folder, _disk(Path(folder)) as disk, build(disk) as fleet:
        try:
            values = measure(fleet, options, disk is not None)
        finally:
            fleet.stop()
            if options.keep:
                fleet.copy_logs(options.keep)
    values = {"minutes": options.minutes, "seed": options.seed, **values}
    for name in ("wrong", "files left over", "processes left over"):
        for text in values[name]:
            print(f"{name}: {text}")
        values[name] = len(values[name])
    save("faults", values)


if __name__ == "__main__":
    main()
