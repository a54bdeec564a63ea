# Generated from secateur/_async/transfer.py by client/generate.py: edit that one.
"""An upload in pieces that goes on where it was cut (tus 1.0), also in another run of the program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from secateur import clock
from secateur.errors import SecateurError, Unreachable
from secateur.memory import Memory
from secateur.sources import OnBytes, Source

if TYPE_CHECKING:
    from secateur._sync.connection import Connection

SLICE = 64 << 20  # of one request: proxies limit them
SPOKEN = {"Tus-Resumable": "1.0.0"}
PIECE = {"Content-Type": "application/offset+octet-stream"}
ABSENT = (404, 405)
GONE = (404, 410)
ELSEWHERE = 409


class Transfer:
    """One upload. Args: path: of models or datasets."""

    def __init__(
        self, connection: Connection, path: str, source: Source, memory: Memory, on_bytes: OnBytes | None
    ) -> None:
        self._connection, self._path, self._source = connection, path, source
        self._memory, self._on_bytes = memory, on_bytes
        self._size, self._stamp = source.size, source.stamp
        self._safe, self._tries = 0, connection.tries()

    def run(self, parameters: dict[str, Any]) -> str | None:
        """The id of what was made of it; None: the service takes files in one piece only. Raises: SecateurError."""
        while True:
            try:
                if self._memory.address is None and not self._begin(parameters):
                    return None
                state = self._connection.parsed(self._ask("GET"))
                if state["upload_id"] is not None:
                    self._memory.forget()
                    return state["upload_id"]
                self._gets_on(state["offset"])
                self._send(state["offset"])
            except SecateurError as failure:
                clock.sleep(self._tries.pause(self._judged(failure)))

    def _begin(self, parameters: dict[str, Any]) -> bool:
        headers = SPOKEN | {"Upload-Length": str(self._size)}
        path = f"{self._path}/transfers"
        try:
            response = self._connection.request("POST", path, params=parameters, headers=headers)
        except SecateurError as failure:
            if failure.status in ABSENT:
                return False
            raise
        self._memory.keep(f"/v1/transfers/{self._connection.parsed(response)['id']}")
        return True

    def _send(self, offset: int) -> None:
        while offset < self._size:
            if self._source.stamp != self._stamp:
                self._ask("DELETE")
                self._memory.forget()
                raise SecateurError(f"{self._source.name} changed while it was uploaded; upload it again")
            end = min(offset + SLICE, self._size)
            content = pieces(self._source, self._on_bytes, offset, end)
            headers = PIECE | {"Upload-Offset": str(offset), "Content-Length": str(end - offset)}
            self._ask("PATCH", headers, content=content)
            offset = end
            self._gets_on(offset)

    def _gets_on(self, offset: int) -> None:
        """Patience begins anew with what is safe, also of a piece that was cut."""
        if offset > self._safe:
            self._safe, self._tries = offset, self._connection.tries()

    def _ask(self, method: str, headers: dict[str, str] | None = None, **options: Any) -> Any:
        """Once: what to do after a failure is for the loop to say."""
        address = self._memory.address or ""
        return self._connection.request(
            method, address, is_safe=False, headers=SPOKEN | (headers or {}), **options
        )

    def _judged(self, failure: SecateurError) -> SecateurError:
        """The failure; as one that passes where it goes on from elsewhere, or anew."""
        if failure.status in GONE:
            self._memory.forget()
        if failure.status in (*GONE, ELSEWHERE):
            return Unreachable(str(failure), failure.status)
        return failure


def pieces(
    source: Source, on_bytes: OnBytes | None, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The bytes of a source from start to end."""
    for piece in source.pieces(on_bytes, start, end):
        yield piece
