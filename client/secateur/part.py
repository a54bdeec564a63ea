"""A download under way."""

import hashlib
import re
from pathlib import Path

import httpx

from secateur.errors import SecateurError
from secateur.sources import OnBytes


class Part:
    """The bytes so far in NAME.part, and their hash; it becomes NAME when whole and of the ETag's sha256.

    The service may send us on to where its files are, which has ETags of its own: those are good for going on alone.
    """

    def __init__(self, target: Path, on_bytes: OnBytes | None = None) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.target, self.path = target, target.with_name(target.name + ".part")
        self._on_bytes = on_bytes
        self._file = self.path.open("wb")
        self._sha256: str | None = None
        self._restart("", 0)

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._got

    def headers(self) -> dict[str, str]:
        """Ask for what is missing; for all of it where nothing is there, or the file has changed since."""
        asks = {"Accept-Encoding": "identity"}  # else a Range would count compressed bytes
        return asks | {"Range": f"bytes={self._got}-", "If-Range": self._etag} if self._got and self._etag else asks

    def begin(self, response: httpx.Response) -> None:
        """Go on where the part ends, or begin anew where the service sends the whole file."""
        if response.status_code != 206 or not response.headers.get("content-range", "").startswith(
            f"bytes {self._got}-"
        ):
            self._restart(response.headers.get("etag", ""), int(response.headers.get("content-length", 0)))
            told = (answer.headers.get("etag", "") for answer in (*response.history, response))
            self._sha256 = next((found[0] for etag in told if (found := re.search(r"[0-9a-f]{64}", etag))), None)

    def write(self, piece: bytes) -> None:
        """Add what came."""
        self._file.write(piece)
        self._hash.update(piece)
        self._got += len(piece)
        if self._on_bytes:
            self._on_bytes(self._got, max(self._total, self._got))

    def keep(self) -> Path:
        """Give it its name. Raises: SecateurError: it is not what the service has."""
        if self._sha256 and self._sha256 != self._hash.hexdigest():
            raise SecateurError(f"{self.target.name} was damaged on its way: its sha256 is not that of the service")
        self._file.close()
        self.path.replace(self.target)
        return self.target

    def _restart(self, etag: str, total: int) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._etag, self._total, self._got, self._hash = etag, total, 0, hashlib.sha256()
