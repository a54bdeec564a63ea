"""One command for the whole service: starts its parts, starts again what dies, stops all of them clean."""

import fcntl
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from sqlalchemy.exc import OperationalError

from service.parts import Part, parts
from store import migrate
from store.settings import Settings

FIRST_PORT, LAST_PORT = 8000, 8100
READY_SECONDS = 60
RESTART_SECONDS = 1.0  # between two starts of a part that keeps dying


class CannotStart(Exception):
    """The service cannot start; the message says what to change."""


class Supervisor:
    """Runs the parts from start() to stop()."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.listener = listen(settings)
        self.stopping = threading.Event()
        self._parts: list[Part] = []

    @property
    def url(self) -> str:
        """Where the service is."""
        return f"http://{self.settings.host}:{self._port}"

    def start(self) -> None:
        """Migrate the database and start everything; returns when the service is ready.

        Raises: CannotStart.
        """
        self._migrate()
        self._parts = parts(self.settings, self.listener)
        for part in self._parts:
            part.start()
        self._wait_ready()

    def watch(self) -> None:
        """Start again what dies, until stopping is set or Ctrl-C is pressed."""
        while not self.stopping.wait(0.5):
            for part in self._parts:
                if not part.is_alive() and time.monotonic() - part.started > RESTART_SECONDS:
                    print(f"{part.name} ended; it is started again", flush=True)
                    part.start()

    def stop(self) -> None:
        """Stop all parts, workers first: they hand their jobs back while the broker is still there."""
        for part in reversed(self._parts):
            part.stop()
        self.listener.close()

    @property
    def _port(self) -> int:
        return self.listener.getsockname()[1]

    def _migrate(self) -> None:
        try:
            migrate.main()
        except OperationalError as error:
            first = str(error.orig).strip().split("\n")[0]
            raise CannotStart(f"the database does not answer ({first}); see SECATEUR_DATABASE_URL") from error

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            for part in self._parts:
                if not part.is_alive():
                    raise CannotStart(f"{part.name} ended at once; {self.settings.data_dir}/logs says why")
            if self._answers():
                return
            time.sleep(0.1)
        raise CannotStart(f"the service is not ready after {READY_SECONDS} s; {self.settings.data_dir}/logs says why")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.settings.host, self._port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@contextmanager
def running(settings: Settings) -> Iterator[Supervisor]:
    """A started service, stopped at the end whatever happens. Use from the main thread.

    Raises: CannotStart.
    """
    with _locked(settings):
        supervisor = Supervisor(settings)
        for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job inherits it ignored
            signal.signal(stop, _interrupt)
        try:
            supervisor.start()
            yield supervisor
        finally:
            supervisor.stop()


def listen(settings: Settings) -> socket.socket:
    """A socket on the port asked for; else on the first free one from 8000 on. Held from here on, so that two
    services that start at the same moment do not take one for two.

    Raises: CannotStart: it is taken.
    """
    candidates = range(FIRST_PORT, LAST_PORT) if settings.port is None else [settings.port]
    for port in candidates:
        try:
            return socket.create_server((settings.host, port), backlog=2048)
        except OSError:
            continue
    raise CannotStart(f"port {settings.port or f'{FIRST_PORT} to {LAST_PORT}'} is in use; set SECATEUR_PORT to another")


@contextmanager
def _locked(settings: Settings) -> Iterator[IO[str]]:
    """One service for each data folder; the lock goes with the process, however it ends."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (settings.data_dir / "service.lock").open("a+") as lock:
        os.set_inheritable(lock.fileno(), False)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(
                f"a service already runs on {settings.data_dir}; stop it, or set SECATEUR_DATA_DIR to another folder"
            ) from error
        yield lock


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
