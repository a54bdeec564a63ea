"""Files in a bucket of an S3 server. What is under construction is on the disk of this machine, without a name."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from store.folder import SAMPLE
from store.links import Signer
from store.settings import Settings
from store.storage import PIECE, StorageAway, Unlike, Unwanted

if TYPE_CHECKING:
    from obstore.store import S3Config

log = logging.getLogger(__name__)
PART = 8 << 20
MOST_PARTS = 9000  # S3 takes 10,000 of a file
AT_ONCE = 3  # parts in memory and on their way, of one file
QUIET = timedelta(seconds=120)  # some servers say nothing while they put the parts of a large file together
TESTED = "ready"


class BucketDraft:
    """A file of this machine without a name: it goes with the process. See store.storage.Draft."""

    def __init__(self, bucket: "Bucket") -> None:
        bucket.beside.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = tempfile.TemporaryFile(dir=bucket.beside)  # noqa: SIM115
        self._bucket = bucket

    def __enter__(self) -> "BucketDraft":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def keep(self, name: str) -> None:
        """Send it. Raises: OSError: the disk is full. StorageAway."""
        self.file.flush()
        self.file.seek(0)
        self._bucket.put(name, self.file)


class Bucket:
    """See store.storage.Storage."""

    root: Path | None = None

    def __init__(self, settings: Settings) -> None:
        self._bucket, _, prefix = settings.artifacts_url.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/")
        self.beside = settings.incoming
        self._seconds = settings.link_seconds
        region = settings.aws_region
        inside = settings.aws_endpoint_url or f"https://s3.{region}.amazonaws.com"
        self._outside = (settings.link_endpoint or inside).rstrip("/")
        key, secret, token = settings.aws_access_key_id, settings.aws_secret_access_key, settings.aws_session_token
        self._signer = Signer(key, secret, region, token)
        config: S3Config = {
            "endpoint": inside,
            "region": region,
            "access_key_id": key,
            "secret_access_key": secret,
            "virtual_hosted_style_request": False,
        }
        if token:
            config["session_token"] = token
        self._store = S3Store(
            self._bucket,
            prefix=self._prefix or None,
            config=config,
            client_options={
                "allow_http": inside.startswith("http://"),
                "connect_timeout": timedelta(seconds=3),
                "read_timeout": QUIET,
                "timeout": timedelta(days=1),  # of a whole file
            },
            retry_config={"max_retries": 10, "retry_timeout": timedelta(seconds=settings.storage_seconds)},
        )

    def draft(self) -> BucketDraft:
        """On the disk of this machine; its name may be its hash, which is known when it is whole."""
        return BucketDraft(self)

    def put(self, name: str, content: BinaryIO) -> None:
        """In parts, each tried again; it is there when all of them are."""
        start = content.tell()
        size = content.seek(0, 2) - start
        content.seek(start)
        with _answering(is_there=False):
            part = max(PART, -(-size // MOST_PARTS))
            obstore.put(self._store, name, content, chunk_size=part, max_concurrency=AT_ONCE)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Raises: FileNotFoundError."""
        with _answering():
            found = obstore.get(self._store, name).stream(min_chunk_size=PIECE)

        def read() -> Iterator[bytes]:
            with _answering():
                for piece in found:
                    yield bytes(piece)

        return read()

    def fetch(self, name: str, target: Path, is_wanted: Callable[[], bool]) -> Path:
        """A copy. Raises: FileNotFoundError. OSError: the disk is full. Unwanted."""
        pieces = self.pieces(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as file:
                for piece in pieces:
                    if not is_wanted():
                        raise Unwanted
                    file.write(piece)
        except (OSError, StorageAway, Unwanted):
            target.unlink(missing_ok=True)
            raise
        return target

    def path(self, name: str) -> Path:
        """Raises: NotImplementedError."""
        raise NotImplementedError

    def link(self, name: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """It is signed here: nothing is asked, also not whether it is there."""
        place = "/".join(filter(None, (self._bucket, self._prefix, name)))
        return self._signer.link(f"{self._outside}/{quote(place)}", headers, datetime.now(UTC), self._seconds)

    def touch(self, name: str) -> None:
        """It is not made younger, as S3 cannot do that: store.artifacts holds a lock on its name. FileNotFoundError."""
        with _answering():
            obstore.head(self._store, name)

    def names(self, prefix: str = "") -> Iterator[str]:
        """As the server lists them."""
        with _answering():
            for page in obstore.list(self._store, prefix or None):
                yield from (found["path"] for found in page)

    def remove(self, name: str) -> None:
        """If it is there."""
        with _answering():
            obstore.delete(self._store, name)

    def remove_old(self, name: str, seconds: float) -> None:
        """By the server's clock and this machine's, which should agree to within the time of grace."""
        try:
            with _answering():
                stored = obstore.head(self._store, name)["last_modified"]
        except FileNotFoundError:
            return
        if datetime.now(UTC) - stored >= timedelta(seconds=seconds):
            self.remove(name)

    def remove_all(self, prefix: str) -> None:
        """One by one."""
        for name in list(self.names(prefix)):
            self.remove(name)

    def sweep(self, seconds: float) -> None:
        """Nothing: drafts have no name, and go with their process."""

    def check(self) -> None:
        """Raises: StorageAway, Unlike."""
        with _answering(is_there=False):
            obstore.put(self._store, TESTED, SAMPLE)
            if bytes(obstore.get(self._store, TESTED).bytes()) != SAMPLE:
                raise Unlike


@contextmanager
def _answering(is_there: bool = True) -> Iterator[None]:
    """The library's errors as ours; is_there: what is missing is the file, and not the bucket.

    Raises: FileNotFoundError, StorageAway.
    """
    try:
        yield
    except FileNotFoundError as error:
        if is_there:
            raise FileNotFoundError("it is not in the bucket") from error
        log.warning("the bucket is not there: %s", _short(error))
        raise StorageAway from error
    except BaseError as error:
        log.warning("the storage does not answer: %s: %s", type(error).__name__, _short(error))
        raise StorageAway from error


def _short(error: Exception) -> str:
    return str(error).partition("\n\nDebug source")[0]
