"""Large uploads go in pieces, and go on where they were cut; the service is one in memory."""

import itertools
import os
from pathlib import Path

import httpx
import pytest
from secateur import Patience, Secateur, SecateurError, Unreachable
from secateur._sync import connection, transfer

from tests.unit.client.service import Clock

CONTENT = bytes(range(256)) * 40
ROW = {"id": "mdl_1", "name": "m.onnx", "status": "ready", "problems": []}


class Service:
    """Takes transfers; `cuts` is after how many bytes of which piece the connection breaks."""

    def __init__(self, cuts: dict[int, int] | None = None) -> None:
        self.cuts = cuts or {}
        self.stored: dict[str, bytearray] = {}
        self.length = 0
        self.starts: list[int] = []
        self.asked: list[tuple[str, str]] = []
        self.count = itertools.count(1)
        self.has_transfers = True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        content, path = request.read(), request.url.path
        self.asked.append((request.method, path))
        if path == "/v1/models":
            self.stored["whole"] = bytearray(content)
            return httpx.Response(201, json=ROW)
        if path == "/v1/models/transfers":
            return (
                self._begun(request) if self.has_transfers else httpx.Response(405, json={"detail": "no such method"})
            )
        if path == "/v1/models/mdl_1":
            return httpx.Response(200, json=ROW)
        id = path.rpartition("/")[2]
        if id not in self.stored:
            return httpx.Response(404, json={"detail": f"there is no transfer {id}"})
        assert request.headers["tus-resumable"] == "1.0.0"
        return self._piece(request, id, content) if request.method == "PATCH" else self._state(request, id)

    def _begun(self, request: httpx.Request) -> httpx.Response:
        id = f"trf_{next(self.count)}"
        self.stored[id], self.length = bytearray(), int(request.headers["upload-length"])
        assert request.url.params["name"] == "m.onnx"
        return httpx.Response(201, json={"id": id})

    def _state(self, request: httpx.Request, id: str) -> httpx.Response:
        if request.method == "DELETE":
            del self.stored[id]
            return httpx.Response(204)
        so_far = len(self.stored[id])
        became = "mdl_1" if so_far == self.length else None
        return httpx.Response(200, json={"id": id, "offset": so_far, "upload_id": became})

    def _piece(self, request: httpx.Request, id: str, content: bytes) -> httpx.Response:
        self.starts.append(int(request.headers["upload-offset"]))
        assert self.starts[-1] == len(self.stored[id])
        cut = self.cuts.get(len(self.starts))
        self.stored[id] += content[:cut]
        if cut is not None:
            raise httpx.WriteError("cut")
        return httpx.Response(204)

    def upload(self, file: Path, **options: float) -> list[int]:
        """Returns: the progress that was shown."""
        seen: list[int] = []
        patience = Patience(**options)  # type: ignore[arg-type]
        with Secateur("http://test", patience=patience, transport=httpx.MockTransport(self)) as client:
            client.upload_model(file, on_bytes=lambda done, total: seen.append(done))
        return seen


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slept: Clock) -> None:
    monkeypatch.setattr(connection, "WHOLE", 1000)
    monkeypatch.setattr(transfer, "SLICE", 4096)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(CONTENT)
    return tmp_path / "m.onnx"


def kept(file: Path) -> list[Path]:
    return list((file.parent / "cache/secateur/transfers").glob("*"))


def test_it_goes_on_where_the_service_is(file: Path) -> None:
    service = Service({2: 100})
    seen = service.upload(file)
    assert service.starts == [0, 4096, 4196, 8292] and service.stored["trf_1"] == CONTENT
    assert seen[-1] == len(CONTENT) and 4196 in seen
    assert kept(file) == []


def test_patience_begins_anew_when_it_gets_on(file: Path, slept: Clock) -> None:
    service = Service(dict.fromkeys(range(1, 60), 100))
    service.upload(file, seconds=2, first_answer=2)
    assert service.stored["trf_1"] == CONTENT and slept.time > 10
    stuck = Service(dict.fromkeys(range(1, 60), 0))
    with pytest.raises(Unreachable, match="cut"):
        stuck.upload(file, seconds=2)


def test_the_next_run_goes_on_with_it(file: Path) -> None:
    service = Service({1: 3000, 2: 0})
    with pytest.raises(Unreachable):
        service.upload(file, seconds=0)
    assert len(kept(file)) == 1
    seen = service.upload(file)
    assert service.starts == [0, 3000, 3000, 7096] and seen[0] == 3000
    assert list(service.stored) == ["trf_1"] and kept(file) == []


def test_what_has_expired_begins_anew(file: Path) -> None:
    service = Service({1: 3000})
    with pytest.raises(Unreachable):
        service.upload(file, seconds=0)
    service.stored.clear()
    service.upload(file)
    assert service.stored == {"trf_2": CONTENT}


def test_another_file_of_that_name_is_another_upload(file: Path) -> None:
    service = Service({1: 3000})
    with pytest.raises(Unreachable):
        service.upload(file, seconds=0)
    file.write_bytes(CONTENT[::-1])
    os.utime(file, (1, 1))
    service.upload(file)
    assert service.stored["trf_2"] == CONTENT[::-1]


def test_a_file_that_changes_meanwhile_is_given_up(file: Path) -> None:
    service = Service()

    def change(done: int, _: int) -> None:
        os.utime(file, (1, 1))

    with (
        Secateur("http://test", transport=httpx.MockTransport(service)) as client,
        pytest.raises(SecateurError, match=r"m\.onnx changed while it was uploaded"),
    ):
        client.upload_model(file, on_bytes=change)
    assert service.stored == {} and kept(file) == []


def test_two_runs_at_once_do_not_share_a_transfer(file: Path) -> None:
    service = Service()
    begun = []

    def again(done: int, total: int) -> None:
        if not begun:
            begun.append(done)
            service.upload(file)

    with Secateur("http://test", transport=httpx.MockTransport(service)) as client:
        client.upload_model(file, on_bytes=again)
    assert service.stored == {"trf_1": CONTENT, "trf_2": CONTENT}


def test_small_files_and_old_services_take_one_request(file: Path, tmp_path: Path) -> None:
    service = Service()
    service.has_transfers = False
    service.upload(file)
    assert service.stored["whole"] == CONTENT and kept(file) == []
    new = Service()
    file.write_bytes(CONTENT[:999])
    new.upload(file)
    assert ("POST", "/v1/models/transfers") not in new.asked


def test_without_a_cache_folder_it_goes_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # a file: nothing can be kept below it
    service = Service({1: 10})
    service.upload(file)
    assert service.stored["trf_1"] == CONTENT
