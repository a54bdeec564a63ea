"""The body of a request that goes on with a transfer: written as it comes, saved as it goes."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from api.bodies import pump
from api.problems import Problem
from api.routes.uploads import add
from store import parts, transfers
from store.database import reading, writing
from store.errors import Conflict
from store.parts import Part
from store.tables import Transfer

SAVE_BYTES = 16 << 20  # a killed API loses at most so much of what came
LOCK_SECONDS = 5.0
LOOK_SECONDS = 1.0
QUIET_SECONDS = 2.0  # a connection that says nothing for so long lets go, if another request asks


@dataclass(frozen=True)
class Checksum:
    """What a piece must be, by its client's word."""

    algorithm: str
    digest: bytes


async def take(request: Request, asked: Transfer, checksum: Checksum | None) -> Transfer:
    """Write the body to the end of a transfer; the last piece makes the model or data set.

    Raises: NotFound, Conflict. Problem 413, 423 or 460. OSError: the disk is full; StorageAway; what is safe stays.
    """
    with await _locked(asked) as part:
        held = await asyncio.to_thread(_held, asked, part)
        piece = _Piece(held, part, checksum)
        try:
            await piece.receive(request)
        except BaseException:
            await asyncio.to_thread(piece.keep)
            raise
        return await asyncio.to_thread(piece.complete)


async def _locked(row: Transfer) -> Part:
    """The part file, for this request alone: who holds it and hears nothing sees that it is asked for, and lets go."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        part = parts.part(row)
        if part.lock() and part.is_there():
            return part
        part.close()
        if time.monotonic() > end:
            raise Problem(423, f"another request holds {row.id}; try again in a moment", {"Retry-After": "1"})
        await asyncio.sleep(0.05)


def _held(asked: Transfer, part: Part) -> Transfer:
    with writing() as session:
        held = transfers.hold(session, asked.id, asked.turn, asked.offset, part.size)
    if held.offset != asked.offset:
        raise transfers.elsewhere(held)
    part.go_on(held.offset, asked.holder)
    return held


class _Piece:
    """One request's turn at a transfer."""

    def __init__(self, row: Transfer, part: Part, checksum: Checksum | None) -> None:
        self._row, self._part, self._checksum = row, part, checksum
        self._sum: Any = checksum and hashlib.new(checksum.algorithm, usedforsecurity=False)
        self._saved, self._heard = part.mark(), time.monotonic()

    async def receive(self, request: Request) -> None:
        """Raises: Conflict: nothing comes, and a newer request asks for the transfer. ClientDisconnect."""
        try:
            async with asyncio.timeout(None) as limit:
                looking = asyncio.create_task(self._look(lambda: limit.reschedule(0)))
                try:
                    await pump(self._listen(request), self._write)
                finally:
                    looking.cancel()
        except TimeoutError as error:
            raise Conflict(f"another request goes on with {self._row.id}") from error

    def keep(self) -> None:
        """After a cut: what came is safe, but for a piece whose checksum is not known to be right."""
        if self._sum is None and self._saved[0] < self._part.size < self._row.length:
            self._save()
        else:
            self._part.back(self._saved)
        self._part.leave(self._row.turn)

    def complete(self) -> Transfer:
        """The whole body is there."""
        if self._checksum is not None and self._sum.digest() != self._checksum.digest:
            self._part.back(self._saved)
            self._part.leave(self._row.turn)
            raise Problem(460, f"the piece is not what its {self._checksum.algorithm} says; send it again")
        if self._part.size < self._row.length:
            self._save()
            self._part.leave(self._row.turn)
            return self._row
        return self._finish()

    def _write(self, piece: bytearray) -> None:
        if self._part.size + len(piece) > self._row.length:
            raise Problem(413, f"the transfer is of {self._row.length:,} bytes, and more came")
        self._part.write(piece)
        if self._sum is not None:
            self._sum.update(piece)
        elif self._part.size - self._saved[0] >= SAVE_BYTES and self._part.size < self._row.length:
            self._save()

    def _save(self) -> None:
        self._part.sync()
        with writing() as session:
            self._row = transfers.save(session, self._row.id, self._row.turn, self._part.size)
        self._saved = self._part.mark()

    def _finish(self) -> Transfer:
        """Publish the file and add its row: on the disk first, and named only by who holds the transfer."""
        self._part.sync()
        blob = self._part.blob()
        with writing() as session:
            row = transfers.finish(session, self._row.id, self._row.turn)
            self._part.publish(blob)
            upload, row.is_new = add(session, row.kind, row.owner, row.parameters, blob)
            row.upload_id = upload.id
        return row

    async def _listen(self, request: Request) -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            self._heard = time.monotonic()
            yield chunk

    async def _look(self, stop: Callable[[], None]) -> None:
        """Stop receiving when nothing comes and a newer request asks: who hangs must not hold the transfer."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            is_quiet = time.monotonic() - self._heard > QUIET_SECONDS
            if is_quiet and await asyncio.to_thread(self._is_asked):
                return stop()

    def _is_asked(self) -> bool:
        try:
            with reading() as session:
                return transfers.is_asked(session, self._row.id, self._row.turn)
        except SQLAlchemyError:  # the database is away: saving will say so
            return False
