"""One body of tests over both kinds of storage: a folder, and a bucket of a real S3 server."""

import hashlib
import io
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from pruning.folders import trim
from store import artifacts, audit, backup, checkpoints, database, migrate, models, parts, retention, transfers, uploads
from store.bucket import Bucket
from store.checks import NotReady
from store.checks import storage as check
from store.database import reading, writing
from store.settings import settings
from store.storage import StorageAway, Unwanted, storage
from store.tables import Model
from tests import s3
from tests.integration.conftest import forget
from worker import supplies
from worker.folder import private

NEEDS_S3 = pytest.mark.skipif(not s3.RCLONE, reason=s3.NO_S3)
OWNER = "anna"
MIB = 1 << 20


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty part of a bucket; where its objects are on the server's disk."""
    server: s3.Server = request.getfixturevalue("running")
    prefix = tmp_path.name
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SECATEUR_ARTIFACTS_URL", f"s3://{s3.BUCKET}/{prefix}")
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path / "data"))
    forget()
    migrate.main()
    yield server.root / s3.BUCKET / prefix
    forget()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    forget()
    migrate.main()
    yield tmp_path / "artifacts"
    forget()


@pytest.fixture(params=["folder", pytest.param("bucket", marks=NEEDS_S3)])
def place(request: pytest.FixtureRequest) -> Path:
    """Where the files are on a disk: what is done to them there is what befalls a storage."""
    return request.getfixturevalue(request.param)


def without_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is old at once: a server's times cannot be set."""
    monkeypatch.setenv("SECATEUR_GRACE_SECONDS", "1e-9")
    settings.cache_clear()


def there(place: Path) -> set[str]:
    return {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}


def name_of(content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return f"{sha256[:2]}/{sha256}"


def test_what_was_stored_comes_back_in_pieces_and_as_a_file(place: Path, tmp_path: Path) -> None:
    content = secrets.token_bytes(9 * MIB + 5)  # more than one part of a multipart upload
    blob = artifacts.put(content)
    assert blob == artifacts.Blob(hashlib.sha256(content).hexdigest(), len(content))
    assert there(place) == {name_of(content)} and artifacts.stored() == {blob.sha256}
    pieces = list(artifacts.pieces(blob.sha256))
    assert b"".join(pieces) == content and len(pieces) >= 2
    assert artifacts.fetch(blob.sha256, tmp_path / "copy").read_bytes() == content


def test_identical_uploads_at_once_are_one_file(place: Path) -> None:
    content = secrets.token_bytes(MIB)
    with ThreadPoolExecutor(4) as pool:
        blobs = set(pool.map(artifacts.put, [content] * 4))
    assert len(blobs) == 1 and there(place) == {name_of(content)}


def test_what_is_not_kept_leaves_nothing(place: Path) -> None:
    with pytest.raises(RuntimeError), artifacts.Staged() as staged:
        staged.write(b"half")
        raise RuntimeError
    assert there(place) == set()
    assert not settings().incoming.exists() or not list(settings().incoming.iterdir())


def test_what_is_not_there_is_said_before_anything_is_sent(place: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        artifacts.pieces("0" * 64)
    with pytest.raises(FileNotFoundError):
        artifacts.fetch("0" * 64, tmp_path / "copy").read_bytes()
    assert not (tmp_path / "copy").exists()
    with pytest.raises(FileNotFoundError), writing() as session:
        artifacts.touch(session, artifacts.Blob("0" * 64, 1))


def test_files_without_a_row_are_collected_when_they_are_old(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts.put(b"unused")
    with writing() as session:
        used, _ = models.add(session, OWNER, "m", artifacts.put(b"used"))
    artifacts.collect()
    assert there(place) == {name_of(b"unused"), name_of(b"used")}
    without_grace(monkeypatch)
    artifacts.collect()
    assert there(place) == {name_of(b"used")}
    with writing() as session:
        uploads.delete(session, Model, OWNER, used.id)
    assert there(place) == set()


def test_a_file_that_a_row_is_about_to_name_is_not_collected(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector looks while the transaction that adds the row is open, and finds an old file without one."""
    blob = artifacts.put(b"stored long ago")
    without_grace(monkeypatch)
    looked = threading.Event()

    def collect() -> None:
        looked.set()
        artifacts.collect()

    with ThreadPoolExecutor(1) as pool:
        with writing() as session:
            artifacts.touch(session, blob)
            done = pool.submit(collect)
            looked.wait(10)
            models.add(session, OWNER, "m", blob)
        done.result(30)
    assert there(place) == {name_of(b"stored long ago")}


def test_checkpoints(place: Path, tmp_path: Path) -> None:
    names = [checkpoints.write("job_1", 1, n, io.BytesIO(b"state %d" % n)) for n in (2, 10)]
    checkpoints.write("job_2", 1, 1, io.BytesIO(b"other"))
    assert checkpoints.names("job_1") == names == ["job_1/1-2", "job_1/1-10"]
    assert checkpoints.read(names[1]) == b"state 10"
    assert checkpoints.fetch(names[0], tmp_path / "c").read_bytes() == b"state 2"
    checkpoints.keep_only(names[1])
    assert checkpoints.names("job_1") == names[1:] and checkpoints.jobs() == {"job_1", "job_2"}
    retention.collect_checkpoints()  # no such jobs
    assert there(place) == set() == checkpoints.jobs()


def receive(id: str, offset: int, content: bytes, pieces: int = 2) -> None:
    """As api.pieces does it: a request that goes on at an offset, and saves after each piece."""
    with writing() as session:
        row = transfers.ask(session, OWNER, id, offset)
    with parts.part(row) as part:
        assert part.lock() and part.is_there()
        with writing() as session:
            held = transfers.hold(session, id, row.turn, offset, part.size)
        part.go_on(held.offset, row.holder)
        size = -(-len(content) // pieces)
        for start in range(0, len(content), size):
            part.write(content[start : start + size])
            part.sync()
            with writing() as session:
                transfers.save(session, id, row.turn, part.size)
        part.leave(row.turn)


def finish(id: str, length: int) -> artifacts.Blob:
    with writing() as session:
        row = transfers.ask(session, OWNER, id, length)
    with parts.part(row) as part:
        assert part.lock()
        part.go_on(length, row.holder)
        blob = part.blob()
        with writing() as session:
            transfers.hold(session, id, row.turn, length, length)
            transfers.finish(session, id, row.turn).upload_id = "mdl_1"
            part.publish(blob)
    return blob


def begin(length: int) -> str:
    with writing() as session:
        return transfers.add(session, OWNER, "model", {"name": "m"}, length, None).id


def test_an_upload_in_pieces_goes_on_on_another_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = secrets.token_bytes(100)
    id = begin(len(content))
    receive(id, 0, content[:40])
    if storage().root is None:
        monkeypatch.setenv("SECATEUR_DATA_DIR", str(settings().data_dir / "another"))
        monkeypatch.setenv("SECATEUR_DATABASE_URL", settings().database)
        forget()
    receive(id, 40, content[40:])
    assert parts.ids() == {id}
    assert finish(id, len(content)) == artifacts.Blob(hashlib.sha256(content).hexdigest(), 100)
    transfers.collect()
    assert there(place) == {name_of(content)} and parts.ids() == set()


def test_what_a_turn_wrote_that_lost_the_transfer_does_not_count(place: Path) -> None:
    id, content = begin(6), b"abcdef"
    receive(id, 0, content[:3], 1)
    with writing() as session:
        slow = transfers.ask(session, OWNER, id, 3)
    if storage().root is None:  # in a folder the lock keeps others out meanwhile
        with parts.part(slow) as part:
            with writing() as session:
                transfers.hold(session, id, slow.turn, 3, 3)
            part.go_on(3, slow.holder)
            part.write(b"XYZ")
            part.sync()
    receive(id, 3, content[3:], 1)
    assert finish(id, 6).sha256 == hashlib.sha256(content).hexdigest()


def test_what_is_taken_back_is_written_anew(place: Path) -> None:
    id = begin(4)
    with writing() as session:
        row = transfers.ask(session, OWNER, id, 0)
        transfers.hold(session, id, row.turn, 0, 0)
    with parts.part(row) as part:
        assert part.lock()
        part.go_on(0, 0)
        mark = part.mark()
        part.write(b"wrong")
        part.sync()
        part.back(mark)
        part.write(b"ab")
        middle = part.mark()
        part.write(b"?")
        part.back(middle)
        part.write(b"cd")
        part.sync()
        assert part.size == 4 and part.blob().sha256 == hashlib.sha256(b"abcd").hexdigest()


def test_audit_and_backup(place: Path, tmp_path: Path) -> None:
    with writing() as session:
        kept, _ = models.add(session, OWNER, "kept", artifacts.put(b"kept"))
        lost, _ = models.add(session, OWNER, "lost", artifacts.put(b"lost"))
    artifacts.put(b"stray")
    (place / name_of(b"lost")).unlink()
    assert {(f.kind, f.file) for f in audit.audit()} == {
        ("missing", lost.sha256),
        ("unnamed", hashlib.sha256(b"stray").hexdigest()),
    }
    made = backup.backup(tmp_path / "backup")
    assert made.missing == [lost.sha256] and made.files == 1
    for file in place.rglob(kept.sha256):
        file.unlink()
    database.engine().dispose()
    (settings().data_dir / "secateur.db").unlink()
    assert backup.restore(tmp_path / "backup").files == 1
    assert b"".join(artifacts.pieces(kept.sha256)) == b"kept"
    with reading() as session:
        assert session.get_one(Model, kept.id).name == "kept"


def test_it_says_that_it_is_ready(place: Path) -> None:
    check()
    assert artifacts.stored() == set()


@NEEDS_S3
def test_a_link_opens_one_file_for_a_while_and_keeps_its_name(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = artifacts.put(b"to be fetched")
    link = artifacts.link(blob.sha256, content_disposition='attachment; filename="pruned.onnx"')
    assert link is not None and "X-Amz-Expires=300&" in link
    assert "response-content-disposition=attachment%3B%20filename%3D%22pruned.onnx%22" in link
    answer = httpx.get(link)
    assert answer.status_code == 200 and answer.content == b"to be fetched"
    other = artifacts.put(b"another")
    assert httpx.get(link.replace(blob.sha256, other.sha256).replace(blob.sha256[:2], other.sha256[:2])).is_error
    assert httpx.get(link.replace("pruned.onnx", "pruned.html")).status_code == 403


@NEEDS_S3
def test_a_server_that_is_away_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: s3.Server
) -> None:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SECATEUR_STORAGE_SECONDS", "0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget()
    tries: list[Callable[[], object]] = [
        lambda: artifacts.put(b"x"),
        lambda: artifacts.pieces("0" * 64),
        lambda: artifacts.fetch("0" * 64, tmp_path / "copy"),
        artifacts.stored,
        lambda: storage().remove("a"),
    ]
    for attempt in tries:
        with pytest.raises(StorageAway):
            attempt()
    with pytest.raises(NotReady, match="it does not answer"):
        check()
    assert not (tmp_path / "copy").exists() and list(settings().incoming.iterdir()) == []
    forget()
    monkeypatch.setenv("SECATEUR_ARTIFACTS_URL", "s3://nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    forget()
    with pytest.raises(StorageAway):
        artifacts.put(b"x")
    forget()


def test_what_work_needs_is_fetched_once_and_stays_while_it_is_held(place: Path) -> None:
    """A second worker on the same machine asks the server for nothing; what is held is not trimmed."""
    blob = artifacts.put(b"data of many jobs")
    caches = [settings().fetched]
    with private() as folder:
        first = supplies.file(blob.sha256, folder)
        assert first.read_bytes() == b"data of many jobs"
        trim(caches, 0)
        assert first.exists()
        for file in place.rglob(blob.sha256) if storage().root is None else ():
            file.unlink()
        with private() as other:
            assert supplies.file(blob.sha256, other) == first
    trim(caches, 0)
    if storage().root is None:
        with private() as folder, pytest.raises(FileNotFoundError):
            supplies.file(blob.sha256, folder)
        assert list(settings().fetched.iterdir()) == []


class Fatal(io.BytesIO):
    """A file after whose first bytes the server is gone."""

    def __init__(self, content: bytes, server: s3.Server) -> None:
        super().__init__(content)
        self._server = server

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 8 * MIB:
            self._server.stop()
        return super().read(size)


@NEEDS_S3
def test_a_server_that_goes_in_the_middle_of_a_file_has_nothing_of_it(
    bucket: Path, running: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_STORAGE_SECONDS", "0.1")
    settings.cache_clear()
    content = secrets.token_bytes(40 * MIB)
    with pytest.raises(StorageAway):
        Bucket(settings()).put("ab/cd", Fatal(content, running))
    running.start()
    assert list(storage().names()) == []
    storage().put("ab/cd", io.BytesIO(content))
    assert b"".join(storage().pieces("ab/cd")) == content


@NEEDS_S3
def test_who_need_not_wait_for_a_file_does_not(bucket: Path) -> None:
    blob = artifacts.put(secrets.token_bytes(9 * MIB))
    with private() as folder:
        folder.give_up()
        with pytest.raises(Unwanted):
            supplies.file(blob.sha256, folder)
    assert list(settings().fetched.iterdir()) == []


@NEEDS_S3
def test_at_once_two_workers_fetch_the_same(bucket: Path) -> None:
    blob = artifacts.put(secrets.token_bytes(MIB))

    def fetch(_: int) -> int:
        with private() as folder:
            return supplies.file(blob.sha256, folder).stat().st_size

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(fetch, range(4))) == {MIB}
    assert [file.name for file in settings().fetched.iterdir()] == [f"{blob.sha256}-content"]


def test_a_checkpoint_that_is_gone_is_left_to_the_process(place: Path) -> None:
    name = checkpoints.write("job_1", 1, 1, io.BytesIO(b"state"))
    with private() as folder:
        assert supplies.checkpoint(name, folder).read_bytes() == b"state"
    checkpoints.remove_all("job_1")
    with private() as folder:
        assert not supplies.checkpoint(name, folder).exists()
