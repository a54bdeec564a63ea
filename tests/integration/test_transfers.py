"""Transfers: one holder at a time, finished once, forgotten when their time is over; hashes of part files."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from store import artifacts, parts, transfers
from store.clock import now
from store.database import reading, writing
from store.errors import Conflict, Gone, NotFound
from store.parts import PartFile
from store.settings import settings
from store.tables import Transfer


def begun(length: int = 10) -> str:
    with writing() as session:
        return transfers.add(session, "anna", "model", {"name": "m"}, length, None).id


def ask(id: str, offset: int = 0) -> int:
    with writing() as session:
        return transfers.ask(session, "anna", id, offset).turn


def hold(id: str, turn: int, offset: int = 0, found: int = 10) -> int:
    with writing() as session:
        return transfers.hold(session, id, turn, offset, found).offset


def save(id: str, turn: int, offset: int) -> None:
    with writing() as session:
        transfers.save(session, id, turn, offset)


def expire(*ids: str) -> None:
    with writing() as session:
        session.execute(update(Transfer).where(Transfer.id.in_(ids)).values(expires_at=now() - 1))


def test_the_newest_who_asks_holds_it_and_who_held_it_may_save_until_then(db: Engine) -> None:
    id = begun()
    first = ask(id)
    hold(id, first)
    second = ask(id)
    with reading() as session:
        assert transfers.is_asked(session, id, first) and not transfers.is_asked(session, id, second)
    save(id, first, 3)
    with pytest.raises(Conflict, match="goes on at offset 3"):
        hold(id, second)
    with pytest.raises(Conflict, match="goes on at offset 3"):
        ask(id)
    third, fourth = ask(id, 3), ask(id, 3)
    with pytest.raises(Conflict):
        hold(id, third, 3)
    hold(id, fourth, 3)
    with pytest.raises(Conflict):
        save(id, first, 9)
    save(id, fourth, 5)


def test_it_is_finished_once(db: Engine) -> None:
    id = begun()
    turn = ask(id)
    with pytest.raises(Conflict), writing() as session:
        transfers.finish(session, id, turn)  # asked, but not held
    hold(id, turn)
    with writing() as session:
        transfers.finish(session, id, turn).upload_id = "mdl_1"
    with pytest.raises(Conflict, match="it became mdl_1"):
        save(id, turn, 4)
    with writing() as session:
        assert transfers.ask(session, "anna", id, 10).upload_id == "mdl_1"


def test_a_file_that_lost_its_end_takes_the_row_back(db: Engine) -> None:
    id = begun()
    hold(id, turn := ask(id))
    save(id, turn, 8)
    assert hold(id, ask(id, 8), 8, found=6) == 6
    ask(id, 6)


def test_what_has_expired_is_forgotten_and_what_lives_is_not(db: Engine) -> None:
    alive, over, gone = begun(), begun(), "trf_without_row"
    for id in (alive, over, gone):
        PartFile(root(), id).close()
    expire(over)
    with pytest.raises(Gone, match="begin the upload anew"), reading() as session:
        transfers.get(session, "anna", over)
    transfers.collect()
    artifacts.collect()
    assert parts.ids() == {alive}
    with reading() as session:
        transfers.get(session, "anna", alive)
        for owner, id in (("anna", over), ("bert", alive)):
            with pytest.raises(NotFound):
                transfers.get(session, owner, id)
    with writing() as session:
        transfers.end(session, "anna", alive)
    assert parts.ids() == set()


def root() -> Path:
    return Path(settings().artifacts_at)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def write(offset: int, before: int, turn: int, piece: bytes) -> str:
    with PartFile(root(), "trf_1") as part:
        assert part.lock()
        part.go_on(offset, before)
        part.write(piece)
        part.leave(turn)
        return part.blob().sha256


def test_a_hash_goes_on_only_where_nobody_wrote_in_between(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(0, 0, 1, b"abc")
    with monkeypatch.context() as patched:
        patched.setattr(parts.os, "pread", None)  # it is not read again
        assert write(3, 1, 2, b"def") == hashlib.sha256(b"abcdef").hexdigest()
    (folder / "artifacts" / "transfer-trf_1").write_bytes(b"xyz")  # another process, as turn 3
    assert write(3, 3, 4, b"def") == hashlib.sha256(b"xyzdef").hexdigest()
    assert write(2, 4, 5, b"Z") == hashlib.sha256(b"xyZ").hexdigest()


def test_one_process_at_a_time_has_the_file(folder: Path) -> None:
    with PartFile(root(), "trf_1") as one, PartFile(root(), "trf_1") as other:
        assert one.lock() and not other.lock()
        one.path.unlink()
        assert not one.is_there()


def test_what_is_wrong_is_taken_back(folder: Path) -> None:
    with PartFile(root(), "trf_1") as part:
        part.go_on(0, 0)
        part.write(b"abc")
        mark = part.mark()
        part.write(b"wrong")
        part.back(mark)
        part.write(b"d")
        assert part.blob() == artifacts.Blob(hashlib.sha256(b"abcd").hexdigest(), 4)
        assert part.path.read_bytes() == b"abcd"
