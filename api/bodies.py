"""Request bodies as streams: limited before they are read, hashed while they are stored."""

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import Request
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Message, Receive, Scope, Send

from api.layer import Layer
from api.problems import Problem, render
from store.artifacts import Blob, Staged

SMALL = 1 << 20
AROUND_A_PART = 1 << 16  # boundaries, headers, other fields
UPLOADS = {("POST", f"/v1/{noun}{part}") for noun in ("models", "datasets") for part in ("", "/transfers")}
PIECE = 1 << 20  # written at once, in a thread: small pieces would cost a thread switch each
MULTIPART = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}},
            "required": ["file"],
        }
    },
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}


async def store_body(request: Request, most: int) -> Blob:
    """The raw body, or the `file` part of a multipart one, as a stored file.

    Raises: Problem 413: more than `most` bytes; 422: empty, or no file part. OSError: the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    is_multipart = kind == b"multipart/form-data"
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most + (AROUND_A_PART if is_multipart else 0):
        raise too_large(most)
    stream = request.stream()
    if is_multipart:
        stream = _file_part(stream, options.get(b"boundary", b""))
    with Staged() as staged:
        if not await pump(_limited(stream, most), staged.write):
            raise empty()
        return await asyncio.to_thread(staged.keep)


async def pump(stream: AsyncIterator[bytes], write: Callable[[bytearray], None]) -> int:
    """A piece is written in a thread while the next one is received; no more than two are in memory.

    What came before the stream broke off is written too. Returns: bytes in all.
    """
    total, piece, writing = 0, bytearray(), asyncio.create_task(asyncio.sleep(0))
    try:
        async for chunk in stream:
            total += len(chunk)
            piece += chunk
            if len(piece) >= PIECE:
                await asyncio.shield(writing)  # a thread cannot be cancelled: it would write on into a closed file
                writing, piece = asyncio.create_task(asyncio.to_thread(write, piece)), bytearray()
    finally:
        await writing
        await asyncio.to_thread(write, piece)
    return total


async def _limited(stream: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in stream:
        total += len(chunk)
        if total > most:
            raise too_large(most)
        yield chunk


async def _file_part(stream: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[bytes]:
    """The bytes of the part named `file`; other parts are passed over."""
    if not boundary:
        raise Problem(422, "the multipart body names no boundary")
    part = _Part()
    parser = MultipartParser(boundary, part.callbacks())  # type: ignore[arg-type]
    async for chunk in stream:
        try:
            parser.write(chunk)
        except ValueError as error:
            raise Problem(422, f"the multipart body is damaged: {error}") from error
        for piece in part.taken():
            yield piece
    if not part.is_complete:
        raise Problem(422, "the multipart body ends before its last boundary: it is truncated")


class _Part:
    """Collects what the parser finds in the part named `file`."""

    def __init__(self) -> None:
        self._header = self._value = b""
        self._is_file = False
        self._found: list[bytes] = []
        self._files = 0
        self.is_complete = False

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._content,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def taken(self) -> list[bytes]:
        found, self._found = self._found, []
        return found

    def _begin(self) -> None:
        self._is_file = False
        self._header = self._value = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _content(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._is_file = parse_options_header(self._value)[1].get(b"name") == b"file"
            self._files += self._is_file
            if self._files > 1:
                raise Problem(422, "the multipart body has more than one part `file`")
        self._header = self._value = b""

    def _end(self) -> None:
        self.is_complete = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._found.append(data[start:end])


class SmallBodies(Layer):
    """Bodies other than uploads are at most 1 MB.

    FastAPI reads a JSON body before it asks who sends it: without a limit a stranger could fill the memory.
    """

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body before the application does; 413 where it is too much."""
        if _is_upload(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > SMALL:
                error = too_large(SMALL)
                await render(error.status, error.detail, error.headers)(scope, receive, send)
                return
            more = message.get("more_body", False)
        read: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return read.pop() if read else await receive()

        await self.app(scope, replay, send)


def _is_upload(method: str, path: str) -> bool:
    return (method, path) in UPLOADS or (method == "PATCH" and path.startswith("/v1/transfers/"))


def too_large(most: int) -> Problem:
    """413, before the rest is read."""
    return Problem(413, f"the body is larger than the {most:,} bytes that are taken", {"Connection": "close"})


def empty() -> Problem:
    """422."""
    return Problem(422, "the body is empty: send the file as the raw body, or as the multipart part `file`")
