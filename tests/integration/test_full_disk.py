"""A disk that is really full: a tmpfs of a few MB, seen by a real API process alone."""

import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import HOUSE

MIB = 1 << 20
SPOKEN = {"Tus-Resumable": "1.0.0"}
PIECE = SPOKEN | {"Content-Type": "application/offset+octet-stream"}
CONTENT = secrets.token_bytes(10 * MIB)
NAMESPACE = ("unshare", "-Urm")
BEGIN = 'mount -t tmpfs -o size=6m none "$0" && "$1" -m store.migrate && exec "$@"'


def may_mount() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    )


pytestmark = pytest.mark.skipif(not may_mount(), reason="user and mount namespaces are not allowed here")


class Small:
    """An API whose artifacts are on a disk of 6 MB, with its database or not."""

    def __init__(self, folder: Path, data: str) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")}
        environment |= {"SECATEUR_DATA_DIR": str(folder / data), "SECATEUR_ARTIFACTS_URL": str(self.disk / "a")}
        listener = socket.create_server(("127.0.0.1", 0))
        api = (sys.executable, "-m", "api", "--fd", str(listener.fileno()))
        self.log = (folder / "api.log").open("w+")
        self.process = subprocess.Popen(
            [*NAMESPACE, "sh", "-c", BEGIN, str(self.disk), *api],
            cwd=HOUSE,
            env=environment,
            pass_fds=[listener.fileno()],
            stderr=self.log,
        )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60)
        listener.close()

    def files(self) -> list[str]:
        return [p.name for p in Path(f"/proc/{self.process.pid}/root{self.disk}/a").rglob("*") if p.is_file()]

    def make(self, *options: str) -> None:
        """Another size, or another number of files."""
        enter = ["nsenter", "-t", str(self.process.pid), "-U", "-m", "--preserve-credentials"]
        remount = ["mount", "-o", f"remount,{','.join(options)}", str(self.disk)]
        subprocess.run([*enter, *remount], check=True, capture_output=True)

    def inodes(self) -> int:
        """In use."""
        facts = os.statvfs(f"/proc/{self.process.pid}/root{self.disk}")
        return facts.f_files - facts.f_ffree

    def patch(self, address: str, offset: int) -> httpx.Response:
        headers = PIECE | {"Upload-Offset": str(offset)}
        return self.http.patch(address, content=CONTENT[offset:], headers=headers)

    def offset(self, address: str) -> int:
        return int(self.http.head(address, headers=SPOKEN).headers["upload-offset"])


@pytest.fixture(params=["data", "disk"], ids=["database elsewhere", "database on it"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Small]:
    api = Small(tmp_path, request.param)
    yield api
    api.http.close()
    api.process.terminate()
    api.process.wait(20)
    api.log.close()


def check_full(response: httpx.Response) -> None:
    assert response.status_code == 507, response.text
    assert "no space left" in response.json()["detail"]


def test_a_full_disk_is_said_and_a_transfer_goes_on_when_there_is_room(small: Small) -> None:
    check_full(small.http.post("/v1/models", content=CONTENT))
    check_full(small.http.post("/v1/models", files={"file": CONTENT}))
    assert small.files() == []
    begun = small.http.post("/v1/models/transfers", headers=SPOKEN | {"Upload-Length": str(len(CONTENT))})
    address = begun.headers["location"]
    check_full(small.patch(address, 0))
    offset = small.offset(address)
    assert 3 * MIB <= offset <= 6 * MIB and len(small.files()) == 1
    check_full(small.patch(address, offset))
    assert small.offset(address) == offset
    small.make(
        "size=32m", f"nr_inodes={small.inodes()}"
    )  # room for its bytes, but not for the folder that it is published in
    check_full(small.patch(address, offset))
    reached = small.offset(address)
    assert offset <= reached < len(CONTENT)
    offset = reached
    small.make("size=32m", "nr_inodes=100")
    assert small.patch(address, offset).status_code == 204
    made = small.http.get("/v1/models").json()["items"]
    assert [row["sha256"] for row in made] == [hashlib.sha256(CONTENT).hexdigest()]
    assert small.files() == [hashlib.sha256(CONTENT).hexdigest()]
    small.log.seek(0)
    assert "Traceback" not in small.log.read()
