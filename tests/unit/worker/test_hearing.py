"""A process's words and files are believed only as far as their form goes."""

import os
import threading
from pathlib import Path

import pytest

from store.errors import Fenced
from worker.endings import Ended
from worker.folder import Folder, NotThere
from worker.hearing import Hearing
from worker.messages import LONGEST, Judged, PhaseBegins, Round, Saved, Voice


def hear(say, scribe=lambda *_: None) -> Hearing:
    """What comes of a process that says this, until its end of the pipe closes."""
    ear, mouth = os.pipe()
    hearing = Hearing(ear, Folder(Path()), scribe)
    hearing.start()
    say(mouth)
    hearing.join(30)
    assert not hearing.is_alive()
    return hearing


def words(*messages):
    def say(mouth: int) -> None:
        voice = Voice(mouth)
        for message in messages:
            voice.say(message)
        voice.close()

    return say


def raw(content: bytes):
    def say(mouth: int) -> None:
        with os.fdopen(mouth, "wb") as pipe:
            try:
                pipe.write(content)
            except BrokenPipeError:
                return  # nobody listens to it any more

    return say


def test_messages_arrive_in_order_and_whole():
    said = [
        PhaseBegins(name="admm", progress=0.1),
        Round(step=1, phase="admm", round=1, measure="top1", values={"loss": float("nan")}, layers={"ü\n\"'": 0.5}),
        Judged(problems=["x" * 19_000], facts={"analysis": {"big": "y" * 5_000_000}}),
    ]
    got = []
    assert hear(words(*said), lambda message, _: got.append(message)).ended is None
    assert got[0] == said[0] and got[2] == said[2]
    assert got[1].values == {"loss": None} and got[1].layers == said[1].layers  # databases have no word for NaN


def test_a_word_that_was_cut_off_by_death_is_no_word():
    got = []
    whole = PhaseBegins(name="admm", progress=0.1).model_dump_json().encode()
    assert hear(raw(whole + b"\n" + whole[:-5]), lambda message, _: got.append(message)).ended is None
    assert len(got) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b'{"kind": "promoted"}\n',
        b'{"kind": "checkpoint", "file": "../../secret"}\n',
        b'{"kind": "delivered", "files": ["/etc/passwd"], "result": {}}\n',
        b'{"kind": "phase", "name": "party", "progress": 0}\n',
        b"{" * 100_000 + b"\n",
        b"x" * (LONGEST + 1),
    ],
)
def test_who_does_not_speak_like_one_of_ours_is_ended(content):
    assert hear(raw(content)).ended is Ended.CRASHED


def test_fencing_and_a_full_disk_end_the_process():
    def refuse(error: Exception):
        def scribe(*_: object) -> None:
            raise error

        return scribe

    word = words(PhaseBegins(name="admm", progress=0))
    assert hear(word, refuse(Fenced())).ended is Ended.UNWANTED
    assert hear(word, refuse(OSError(28, "full"))).ended is Ended.SPACE
    assert hear(word, refuse(RuntimeError("what is this"))).ended is Ended.CRASHED


def test_a_handover_waits_for_the_next_checkpoint(monkeypatch):
    heard = threading.Semaphore(0)
    ear, mouth = os.pipe()
    hearing = Hearing(ear, Folder(Path()), lambda *_: heard.release())
    hearing.start()
    voice = Voice(mouth)
    voice.say(Saved(file="checkpoint-1"))
    voice.say(PhaseBegins(name="admm", progress=0))  # once this is heard, the one before has been counted
    assert heard.acquire(timeout=30) and heard.acquire(timeout=30)
    handover = hearing.handover("job")
    voice.say(PhaseBegins(name="admm", progress=0.1))
    assert heard.acquire(timeout=30) and not handover.has_come()
    voice.say(Saved(file="checkpoint-2"))
    voice.close()
    hearing.join(30)
    assert handover.is_over()
    assert hearing.handover("model").is_over()  # looking at an upload has nothing to hand over


def test_only_files_of_its_own_are_taken(tmp_path):
    folder, outside = Folder(tmp_path / "own"), tmp_path / "secret"
    folder.path.mkdir()
    outside.write_bytes(b"secret")
    (folder.path / "link").symlink_to(outside)
    (folder.path / "sub").mkdir()
    os.mkfifo(folder.path / "pipe")
    for name in ("link", "sub", "pipe", "nothing"):
        with pytest.raises(NotThere):
            folder.open(name)
    (folder.path / "file").write_bytes(b"own")
    with folder.open("file") as file:
        assert file.read() == b"own"
