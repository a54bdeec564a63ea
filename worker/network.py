"""Connections to machines that a stranger named: to addresses that were checked, and within one deadline."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from store.addresses import BadAddress, is_own, may_be_called

Resolve = Callable[[str, int], Sequence[str]]
TRIED = 3  # addresses of a name


class Unresolved(httpcore.ConnectError):
    """Its name cannot be resolved."""


class Deadline:
    """So many seconds from now for all that is done."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Raises: httpcore.TimeoutException: nothing is left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.TimeoutException
        return left


class Checked(httpcore.NetworkBackend):
    """Resolves a name once, refuses it if any of its addresses may not be called, and connects to one of those.

    There is no second resolution that could answer otherwise (DNS rebinding). TLS is still held against the name.
    """

    def __init__(self, own: Sequence[str], deadline: Deadline, resolve: Resolve | None = None) -> None:
        self._own, self._deadline, self._resolve = own, deadline, resolve or addresses_of
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises: BadAddress, httpcore.ConnectError, httpcore.TimeoutException."""
        found = _within(self._deadline, lambda: self._resolve(host, port))
        if not is_own(host, self._own) and not all(may_be_called(address, self._own) for address in found):
            raise BadAddress(f"{host} leads to an address that is not public")
        failure: Exception = Unresolved()
        for address in found[:TRIED]:
            try:
                return _Timed(self._sockets.connect_tcp(address, port, self._deadline.left()), self._deadline)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Raises: BadAddress: always."""
        raise BadAddress


class _Timed(httpcore.NetworkStream):
    """A stream whose every step takes at most what is left: many short waits do not make a long one."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def addresses_of(host: str, port: int) -> list[str]:
    """Raises: OSError: the name cannot be resolved."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _within(deadline: Deadline, resolve: Callable[[], Sequence[str]]) -> Sequence[str]:
    """A resolver has no time limit of its own: it is left behind in its thread.

    Raises: Unresolved, httpcore.TimeoutException.
    """
    answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(resolve())
        except (OSError, UnicodeError) as error:  # a label that is too long for a name is a UnicodeError
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty as error:
        raise httpcore.TimeoutException from error
    if isinstance(answer, Exception):
        raise Unresolved from answer
    return answer
