# Generated from secateur/_async/connection.py by client/generate.py: edit that one.
"""Requests, tried again where that is safe."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from secateur import clock
from secateur._sync.transfer import Transfer, pieces
from secateur.errors import SecateurError, Unreachable, refusal
from secateur.memory import remembered
from secateur.part import Part
from secateur.patience import Patience, Tries
from secateur.sources import OnBytes, Source

DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_SECONDS = 10
WHOLE = 16 << 20  # up to so many bytes a file goes in one request: it is soon sent again
SAFE = ("GET", "DELETE")  # asking twice is asking once


class Connection:
    """HTTP with patience; every error is a SecateurError with a sentence."""

    def __init__(
        self,
        url: str | None,
        key: str | None,
        timeout: float,
        patience: Patience,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises: ValueError: the address or the key cannot be one."""
        self.url = (url or os.environ.get("SECATEUR_URL") or DEFAULT_URL).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the service's address must begin with http:// or https://, unlike {self.url}")
        key = (key or os.environ.get("SECATEUR_KEY") or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key has characters that no key has")  # it is not shown, also where it is wrong
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
                transport=transport,
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"{self.url} is not an address: {error}") from error
        self.patience = patience
        self._has_answered = False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def tries(self) -> Tries:
        """What patience there is for one request."""
        patience = self.patience
        seconds = patience.seconds if self._has_answered else min(patience.first_answer, patience.seconds)
        return Tries(patience, seconds)

    def request(self, method: str, path: str, *, is_safe: bool | None = None, **options: Any) -> httpx.Response:
        """A request, again while that is safe and may help.

        Args: is_safe: whether it may be sent twice; None: by its method. Raises: SecateurError.
        """
        is_safe = method in SAFE if is_safe is None else is_safe
        tries = self.tries()
        while True:
            try:
                return self._once(method, path, options)
            except SecateurError as failure:
                if method == "DELETE" and failure.status == 404 and tries.failures:
                    return httpx.Response(204)  # the try before did it, only its answer was lost
                if not is_safe:
                    raise
                clock.sleep(tries.pause(failure))

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of a response. Raises: SecateurError."""
        return self.parsed(self.request(method, path, **options))

    def parsed(self, response: httpx.Response) -> Any:
        """Its JSON. Raises: SecateurError: it is none; something else listens there."""
        try:
            return response.json()
        except ValueError as error:
            raise SecateurError(f"what answers at {self.url} is not Secateur") from error

    def upload(self, path: str, source: Source, parameters: dict[str, Any], on_bytes: OnBytes | None) -> Any:
        """Send a file; the same bytes make the same row, so that it may be sent twice. A large one goes in pieces.

        Raises: SecateurError.
        """
        if source.size > WHOLE:
            with remembered(source, self.url, path, {name: str(value) for name, value in parameters.items()}) as memory:
                id = Transfer(self, path, source, memory, on_bytes).run(parameters)
            if id is not None:
                return self.json("GET", f"{path}/{id}")
        headers = {"Content-Length": str(source.size), "Content-Type": "application/octet-stream"}
        return self.json(
            "POST", path, is_safe=True, params=parameters, headers=headers, source=source, on_bytes=on_bytes
        )

    def download(self, path: str, target: Path, on_bytes: OnBytes | None = None) -> Path:
        """A file to disk; one that breaks off goes on where it ended, and it has its name when it is whole.

        Raises: SecateurError, OSError.
        """
        tries, so_far = self.tries(), 0
        with Part(target, on_bytes) as part:
            while True:
                try:
                    self._fetch(path, part)
                    return part.keep()
                except SecateurError as failure:
                    if part.size > so_far:
                        tries, so_far = self.tries(), part.size  # it gets on: patience begins anew
                    clock.sleep(tries.pause(failure))

    def _fetch(self, path: str, part: Part) -> None:
        try:
            with self._http.stream("GET", path, headers=part.headers(), follow_redirects=True) as response:
                self._has_answered = True
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                part.begin(response)
                for piece in response.iter_bytes():
                    part.write(piece)
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def stream(self, path: str, headers: dict[str, str]) -> Iterator[str]:
        """The lines of a response as they come, once. Raises: SecateurError."""
        try:
            with self._http.stream("GET", path, headers=headers) as response:
                self._has_answered = True
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    return
                for line in response.iter_lines():
                    yield line
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def _once(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        options = dict(options)
        source, on_bytes = options.pop("source", None), options.pop("on_bytes", None)
        if source is not None:
            options["content"] = pieces(source, on_bytes)
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        self._has_answered = True
        if not response.is_success:
            raise refusal(response)
        return response

    def _away(self, error: httpx.HTTPError) -> Unreachable:
        reason = str(error).strip() or type(error).__name__
        asked, ours = error.request.url, self._http.base_url
        if (asked.host, asked.port) != (ours.host, ours.port):
            return Unreachable(f"{asked.host}, where the service keeps its files, does not answer: {reason}")
        return Unreachable(f"the service at {self.url} does not answer: {reason}")
