"""Files that a piece of work needs may be slow to come, or not come at all: no process is started for it then."""

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.settings import settings
from store.storage import StorageAway
from worker.endings import Ended
from worker.errand import Errand
from worker.folder import Folder
from worker.supervise import Work, supervise


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SECATEUR_LEASE_SECONDS", "0.1")
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def ended(
    prepare: Callable[[Folder], Errand], is_wanted: Callable[[], bool] = lambda: True, stops: bool = False
) -> Ended:
    stopping = threading.Event()
    if stops:
        stopping.set()
    return supervise(Work("job", "job_1", 1, prepare, 2**30, 60, is_wanted), lambda *_: None, stopping)


def slow(folder: Folder) -> Errand:
    """Until nobody wants it."""
    assert folder._over.wait(30)
    raise StorageAway


def test_who_cancels_or_stops_does_not_wait(data: Path) -> None:
    assert ended(slow, is_wanted=lambda: False) is Ended.UNWANTED
    assert ended(slow, stops=True) is Ended.STOPPED
    assert list((data / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (StorageAway(), Ended.NO_STORAGE),
        (FileNotFoundError(), Ended.MISSING),
        (OSError(errno.ENOSPC, "full"), Ended.SPACE),
    ],
)
def test_what_cannot_be_had_ends_it(error: Exception, meaning: Ended) -> None:
    def prepare(_: Folder) -> Errand:
        raise error

    assert ended(prepare) is meaning


def test_the_lease_is_held_meanwhile() -> None:
    beats: list[int] = []

    def is_wanted() -> bool:
        beats.append(1)
        return len(beats) < 3

    assert ended(slow, is_wanted) is Ended.UNWANTED and len(beats) == 3
