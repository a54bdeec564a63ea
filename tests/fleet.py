"""Servers and machines of its own for whoever breaks them: PostgreSQL, Redis, API processes and workers."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import redis

from service.parts import Part
from store.queue import JOB_QUEUES, LIGHT
from tests.acceptance.proxy import Proxy
from tests.conftest import HOUSE
from worker.children import die_with_parent

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
IS_ROOT = os.geteuid() == 0
COMPILER = shutil.which("cc") or ""
START_SECONDS = 90
RESTART_SECONDS = 1.0
SETTINGS = ("fsync=off", "max_connections=300", "unix_socket_directories=", "listen_addresses=127.0.0.1")


def until(is_so: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"{what}: not after {seconds} s"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Server:
    """A server on a port of its own, with all that it starts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self, user: str | None = None) -> None:
        """Returns when it answers. Call from the main thread: it goes with it."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                user=user,
                group=user,
                extra_groups=user and [],
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGTERM),
            )
        until(self.answers, f"{type(self).__name__} answers")

    def end(self, how: signal.Signals) -> None:
        """Send it this signal, and wait until it and its children are gone."""
        if self.process is None or self.process.poll() is not None:
            return
        family = [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))]
        self.process.send_signal(how)
        self.process.wait(START_SECONDS)
        until(lambda: not any(map(psutil.pid_exists, family)), "its children are gone")


class Postgres(Server):
    """PostgreSQL. SIGINT stops it in order, SIGQUIT at once, SIGKILL without a word."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        assert PROGRAMS is not None
        self._user = "postgres" if IS_ROOT else None  # it refuses to run as root
        if self._user:
            shutil.chown(folder, self._user, self._user)
        command = [PROGRAMS / "initdb", "-D", "data", "-A", "trust", "-U", "secateur", "-E", "UTF8", "--no-sync"]
        made = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        subprocess.run(command, cwd=folder, check=True, capture_output=True, **made)

    @property
    def address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=secateur dbname=postgres connect_timeout=2"

    def command(self) -> list[str | Path]:
        assert PROGRAMS is not None
        return [PROGRAMS / "postgres", "-D", self.folder / "data", "-p", str(self.port), *(f"-c{s}" for s in SETTINGS)]

    def start(self, user: str | None = None) -> None:
        super().start(user or self._user)

    def answers(self) -> bool:
        try:
            psycopg.connect(self.address).close()
        except psycopg.OperationalError:
            assert self.process is not None and self.process.poll() is None, (self.folder / "server.log").read_text()
            return False
        return True


class Redis(Server):
    """Redis that keeps nothing: after a restart it is empty."""

    def command(self) -> list[str | Path]:
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def spoil(self, queue: str, dice: random.Random) -> None:
        """Messages that wait are lost, or doubled, and all are put into another order."""
        with suppress(redis.RedisError), self.client() as client, client.pipeline() as at_once:
            messages = [m for m in client.lrange(queue, 0, -1) for _ in range(dice.choice((0, 1, 2)))]
            dice.shuffle(messages)
            at_once.delete(queue)
            if messages:
                at_once.rpush(queue, *messages)
            at_once.execute()


@dataclass
class Machine:
    """Processes that share a network, a clock and a disk for what is temporary."""

    name: str
    folder: Path
    environment: dict[str, str]
    network: tuple[Proxy, ...]
    parts: list[Part] = field(default_factory=list)
    url: str = ""  # of its API

    def add_api(self, listener: socket.socket) -> "Machine":
        """Requests wait at the listener while there is no process."""
        part = self._part("api", sys.executable, "-m", "api", "--fd", str(listener.fileno()))
        part.files = (listener.fileno(),)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return self

    def add_worker(self, name: str, *queues: str, app: str = "worker.app") -> "Machine":
        """As the service starts them; app: another one for tests."""
        celery = (sys.executable, "-m", "celery", "-A", app, "worker", "-Q", ",".join(queues))
        self._part(name, *celery, "-n", f"{name}@{self.name}", "-l", "INFO").patience = 40
        return self

    def log(self, name: str) -> str:
        """What a part of this name has written."""
        return (self.folder / f"{name}.log").read_text()

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """From both servers; what it sends meanwhile comes late."""
        for proxy in self.network:
            proxy.hold()
        try:
            yield
        finally:
            for proxy in self.network:
                proxy.release()

    def set_clock(self, seconds: int) -> None:
        """How far it is off, from now on."""
        beside = self.folder / "clock.new"
        beside.write_text(f"{seconds:+d}")
        beside.rename(self.folder / "clock")

    def _part(self, name: str, *command: str) -> Part:
        self.parts.append(Part(name, list(command), self.environment, self.folder / f"{name}.log"))
        return self.parts[-1]


class Fleet:
    """Machines on one PostgreSQL, one Redis and one folder of artifacts. Use as a context, from the main thread."""

    def __init__(self, disk: Path | None = None, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fleet-"))
        self.folder.chmod(0o755)  # PostgreSQL's user has to get through
        self.disk = disk or self.folder / "disk"
        self.settings = settings
        self.machines: list[Machine] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Fleet":
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        for name in ("postgres", "redis"):
            (self.folder / name).mkdir()
        try:
            self.postgres, self.redis = Postgres(self.folder / "postgres"), Redis(self.folder / "redis")
            self.postgres.start()
            self._stack.callback(self.postgres.end, signal.SIGQUIT)
            self.redis.start()
            self._stack.callback(self.redis.end, signal.SIGKILL)
            environment = os.environ | self.variables("direct", self.postgres.port, self.redis.port)
            subprocess.run([sys.executable, "-m", "store.migrate"], cwd=HOUSE, env=environment, check=True)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    def variables(self, name: str, postgres: int, redis: int) -> dict[str, str]:
        """Settings of a machine that reaches the servers at these ports."""
        values = {
            "DATA_DIR": self.disk / name,
            "ARTIFACTS_URL": self.disk / "artifacts",
            "DATABASE_URL": f"postgresql+psycopg://secateur@127.0.0.1:{postgres}/postgres",
            "BROKER_URL": f"redis://127.0.0.1:{redis}/0",
            **self.settings,
        }
        return {f"SECATEUR_{name.upper()}": str(value) for name, value in values.items()}

    def machine(self, name: str) -> Machine:
        """A machine without processes; its clock can be set wrong where there is a C compiler."""
        folder = self.folder / name
        (folder / "tmp").mkdir(parents=True)
        network = tuple(self._stack.enter_context(Proxy("127.0.0.1", s.port)) for s in (self.postgres, self.redis))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")}
        environment |= self.variables(name, *(proxy.port for proxy in network))
        environment |= {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(HOUSE), "OMP_NUM_THREADS": "1"}
        environment |= _clock(folder) if COMPILER else {}
        made = Machine(name, folder, environment, network)
        made.set_clock(0)
        self.machines.append(made)
        return made

    def listener(self) -> socket.socket:
        """Where an API is to answer."""
        return self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))

    def start(self) -> None:
        """All processes, and wait for the APIs."""
        for machine in self.machines:
            for part in machine.parts:
                part.start()

    def revive(self) -> None:
        """Start again what has ended, as whoever supervises it would."""
        for machine in self.machines:
            for part in machine.parts:
                if not part.is_alive() and time.monotonic() - part.started > RESTART_SECONDS:
                    part.start()

    def stop(self) -> None:
        """All processes, in order: a second call finds none."""
        parts = [part for machine in self.machines for part in machine.parts]
        for part in parts:
            if part.is_alive() and part.process:
                part.process.send_signal(signal.SIGTERM)
        for part in parts:
            part.stop()

    def copy_logs(self, to: Path) -> None:
        """Of servers and machines."""
        for log in self.folder.glob("*/*.log"):
            (to / log.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(log, to / log.parent.name)

    def work(self) -> Iterator[tuple[psutil.Process, Machine, str]]:
        """Processes of work, where each runs, and what it does: job job_1 attempt 2."""
        for machine in self.machines:
            for part in machine.parts:
                with suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(part.process.pid).children() if part.process else ():
                        command = child.cmdline()
                        if "worker.run" in command:
                            kind, id, attempt = command[command.index("worker.run") + 1 :][:3]
                            yield child, machine, f"{kind} {id} attempt {attempt}"

    def processes(self) -> Iterator[psutil.Process]:
        """All that run for these machines, whoever their parent is."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                places = process.environ()
                if any(str(root) in places.get("TMPDIR", "") for root in (self.folder, self.disk)):
                    yield process


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own that can be filled; only root may do this."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "fleet", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _clock(folder: Path) -> Mapping[str, str]:
    """What gives processes a clock that is off by what a file in this folder says."""
    library = folder / "clock.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O2", "-o", library, HOUSE / "tests/clock.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(folder / "clock")}


JOBS, UPLOADS = ("jobs", *JOB_QUEUES), ("light", LIGHT)
