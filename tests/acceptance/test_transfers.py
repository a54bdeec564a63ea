"""Uploads in pieces (tus 1.0) against the real service: the protocol, cuts, kills, competition."""

import base64
import hashlib
import os
import secrets
import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from secateur import Secateur, SecateurError

from tests.conftest import Service

SPOKEN = {"Tus-Resumable": "1.0.0"}
PIECE = SPOKEN | {"Content-Type": "application/offset+octet-stream"}
MIB = 1 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def begin(service: Service, length: int, path: str = "/v1/models/transfers", **headers: str) -> str:
    response = service.http.post(path, headers=SPOKEN | {"Upload-Length": str(length)} | headers)
    assert response.status_code == 201, response.text
    return response.headers["location"]


def patch(service: Service, address: str, offset: int, content: Any, **headers: str) -> httpx.Response:
    return service.http.patch(address, content=content, headers=PIECE | {"Upload-Offset": str(offset)} | headers)


def offset(service: Service, address: str) -> int:
    return int(service.http.head(address, headers=SPOKEN).headers["upload-offset"])


def hash_of(service: Service, address: str) -> str:
    became = service.http.get(address).json()
    return service.http.get(f"/v1/{became['kind']}s/{became['upload_id']}").json()["sha256"]


def parts(service: Service, address: str) -> list[Path]:
    return list((service.folder / "artifacts").glob(f"*{address.rpartition('/')[2]}"))


def test_pieces_become_a_model(service: Service) -> None:
    content = secrets.token_bytes(3000)
    named = f"filetype eA==,filename {base64.b64encode(b'net.onnx').decode()}"
    address = begin(service, 3000, **{"Upload-Metadata": named})
    first = patch(service, address, 0, content[:1000])
    assert (first.status_code, first.headers["upload-offset"], first.content) == (204, "1000", b"")
    head = service.http.head(address, headers=SPOKEN)
    known = ("upload-offset", "upload-length", "upload-metadata", "cache-control", "tus-resumable")
    assert [head.headers[name] for name in known] == ["1000", "3000", named, "no-store", "1.0.0"]
    assert head.headers["upload-expires"].endswith("GMT") and parts(service, address)
    last = patch(service, address, 1000, iter([content[1000:2000], content[2000:]]))
    state = service.http.get(address).json()
    assert last.headers["location"] == f"/v1/models/{state['upload_id']}"
    assert (state["kind"], state["offset"], state["length"], state["is_new"]) == ("model", 3000, 3000, True)
    row = service.http.get(last.headers["location"]).json()
    assert (row["name"], row["bytes"], row["sha256"]) == ("net.onnx", 3000, hashlib.sha256(content).hexdigest())
    assert parts(service, address) == []
    assert patch(service, address, 3000, b"").status_code == 204  # its answer may have been lost
    assert patch(service, address, 1000, b"x").status_code == 409
    assert service.http.delete(address, headers=SPOKEN).status_code == 204
    assert service.http.get(address).status_code == 404
    assert service.http.get(f"/v1/models/{row['id']}").status_code == 200


def test_the_same_bytes_are_there_once(service: Service) -> None:
    content = secrets.token_bytes(2 * MIB)

    def pieces(_: int) -> str:
        address = begin(service, len(content), "/v1/datasets/transfers?format=idx")
        assert patch(service, address, 0, content[:MIB]).status_code == 204
        assert patch(service, address, MIB, content[MIB:]).status_code == 204
        return service.http.get(address).json()["upload_id"]

    def whole(_: int) -> str:
        return service.http.post("/v1/datasets?format=idx", content=content).json()["id"]

    with ThreadPoolExecutor(8) as pool:
        ids = {made for kind in (pieces, whole) for made in pool.map(kind, range(4))}
        both = [pool.submit(kind, 0) for kind in (pieces, whole) * 4]
        ids |= {future.result() for future in both}
    sha256 = hashlib.sha256(content).hexdigest()
    assert len(ids) == 1 and service.http.get(f"/v1/datasets/{ids.pop()}").json()["sha256"] == sha256
    assert (
        len([p for p in (service.folder / "artifacts").rglob("*") if p.is_file() and p.stat().st_size == 2 * MIB]) == 1
    )
    again = begin(service, len(content), "/v1/datasets/transfers?format=idx", **{"Content-Type": PIECE["Content-Type"]})
    patch(service, again, 0, content)
    assert service.http.get(again).json()["is_new"] is False


REFUSED: list[tuple[dict[str, str], str, int, str]] = [
    ({"Tus-Resumable": "0.2.2"}, "", 412, "send the header Tus-Resumable: 1.0.0"),
    ({"Upload-Length": "many"}, "", 400, "Upload-Length, a number of bytes"),
    ({"Upload-Length": "-1"}, "", 400, "Upload-Length, a number of bytes"),
    ({"Upload-Defer-Length": "1"}, "", 400, "must be known from the start"),
    ({"Upload-Length": "0"}, "", 422, "the body is empty"),
    ({"Upload-Length": "2000000001"}, "", 413, "larger than the 2,000,000,000 bytes"),
    ({"Upload-Metadata": "name ***"}, "", 422, "must be base64"),
    ({"Upload-Metadata": "name YQBi"}, "", 422, "all of them printable"),
    ({}, "?nmae=x", 422, "there is no parameter nmae"),
    ({}, "?name=a%00b", 422, "pattern"),
]


@pytest.mark.parametrize(("headers", "query", "status", "says"), REFUSED)
def test_a_bad_beginning_is_refused_in_words(
    service: Service, headers: dict[str, str], query: str, status: int, says: str
) -> None:
    sent = SPOKEN | {"Upload-Length": "10"} | headers
    response = service.http.post(f"/v1/models/transfers{query}", headers=sent)
    assert response.status_code == status and says in response.json()["detail"], response.text
    assert response.headers["tus-resumable"] == "1.0.0"
    if status == 412:
        assert response.headers["tus-version"] == "1.0.0"


def test_a_bad_piece_is_refused_and_changes_nothing(service: Service) -> None:
    address = begin(service, 10)
    assert patch(service, address, 0, b"abc").status_code == 204

    def refused(at: int, content: Any, **headers: str) -> int:
        response = patch(service, address, at, content, **headers)
        assert response.headers["content-type"] == "application/problem+json" and offset(service, address) == 3
        return response.status_code

    wrong, right = (base64.b64encode(hashlib.sha1(b).digest()).decode() for b in (b"other", b"def"))
    assert refused(0, b"abc") == 409
    assert refused(4, b"e") == 409
    assert refused(3, b"d", **{"Content-Type": "application/octet-stream"}) == 415
    assert refused(3, b"d", **{"Tus-Resumable": "2.0.0"}) == 412
    assert refused(3, b"d", **{"Upload-Offset": "x"}) == 400
    assert refused(3, b"defghijklmn") == 413
    assert refused(3, b"def", **{"Upload-Checksum": "crc32 AAAA"}) == 400
    assert refused(3, b"def", **{"Upload-Checksum": "sha1 !"}) == 400
    assert refused(3, b"def", **{"Upload-Checksum": f"sha1 {wrong}"}) == 460
    assert refused(3, b"defghij", **{"Upload-Checksum": f"sha1 {wrong}"}) == 460
    over = patch(service, address, 3, iter([b"defghijklmn"]))  # its length is not declared
    assert over.status_code == 413 and offset(service, address) == 3
    assert patch(service, address, 3, b"def", **{"Upload-Checksum": f"sha1 {right}"}).status_code == 204
    assert patch(service, address, 6, b"ghij").status_code == 204
    assert hash_of(service, address) == hashlib.sha256(b"abcdefghij").hexdigest()


def test_what_is_spoken_is_told(service: Service) -> None:
    told = service.http.options("/v1/models/transfers").headers
    assert told["tus-version"] == "1.0.0" and told["tus-max-size"] == "2000000000"
    assert {"creation", "termination", "checksum", "expiration"} <= set(told["tus-extension"].split(","))
    assert {"sha1", "sha256"} <= set(told["tus-checksum-algorithm"].split(","))


def test_a_post_may_stand_for_another_method(service: Service) -> None:
    headers = {"Content-Type": PIECE["Content-Type"]}
    begun = service.http.post("/v1/models/transfers", content=b"ab", headers=SPOKEN | headers | {"Upload-Length": "4"})
    assert begun.headers["upload-offset"] == "2"  # the first bytes came with it
    address = begun.headers["location"]
    meant = PIECE | {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "2"}
    assert service.http.post(address, content=b"cd", headers=meant).headers["upload-offset"] == "4"


def test_a_connection_that_hangs_holds_nothing_up(service: Service) -> None:
    content = secrets.token_bytes(3 * MIB)
    address = begin(service, len(content))
    head = f"PATCH {address} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: {len(content)}\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in PIECE.items())
    place = service.http.base_url
    with socket.create_connection((place.host, place.port or 80), timeout=20) as hanging:
        hanging.sendall((head + lines + "\r\n").encode() + content[: 2 * MIB + 5])
        service.until("/healthz", lambda _: sum(p.stat().st_size for p in parts(service, address)) >= MIB, 20)
        asked = patch(service, address, 0, b"never mixed in" * 1000)
        assert asked.status_code == 409  # who hung has saved what came, once it was asked
        assert offset(service, address) == 2 * MIB + 5
        assert b" 409 " in hanging.recv(1000).splitlines()[0]
    assert patch(service, address, 2 * MIB + 5, content[2 * MIB + 5 :]).status_code == 204
    assert hash_of(service, address) == hashlib.sha256(content).hexdigest()


def test_two_at_once_are_not_mixed(service: Service) -> None:
    address = begin(service, 4 * MIB)
    bodies = [letter * (2 * MIB) for letter in (b"a", b"b")]

    def slowly(body: bytes):
        for at in range(0, len(body), MIB // 8):
            yield body[at : at + MIB // 8]
            time.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda body: patch(service, address, 0, slowly(body)).status_code, bodies))
    assert sorted(codes) in ([204, 409], [204, 423]) and offset(service, address) == 2 * MIB
    (part,) = parts(service, address)
    assert part.read_bytes() == bodies[codes.index(204)]


def test_an_upload_that_breaks_off_leaves_nothing(service: Service) -> None:
    place = service.http.base_url
    folder = service.folder / "artifacts"
    with socket.create_connection((place.host, place.port or 80), timeout=20) as cut:
        cut.sendall(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 3 * MIB)
        service.until("/healthz", lambda _: any(p.stat().st_size >= MIB for p in folder.glob("incoming-*")), 20)
    service.until("/healthz", lambda _: not any(folder.glob("incoming-*")), 20)
    assert "ClientDisconnect" not in (service.folder / "logs" / "api.log").read_text()


def test_nobody_else_sees_it_and_it_survives_kills(tmp_path: Path) -> None:
    own = Service(tmp_path / "data", auth="true").start()
    try:
        anna, bert = own.new_key("anna"), own.new_key("bert")
        own.http.headers["Authorization"] = f"Bearer {anna}"
        address = begin(own, 10)
        stranger = {"Authorization": f"Bearer {bert}"}
        assert own.http.get(address, headers=stranger).status_code == 404
        assert own.http.head(address, headers=SPOKEN | stranger).status_code == 404
        assert patch(own, address, 0, b"x", **stranger).status_code == 404
        assert own.http.delete(address, headers=SPOKEN | stranger).status_code == 404
        assert patch(own, address, 0, b"abc").status_code == 204
        check_survives_kills(own, tmp_path, anna)
        expire(own, address)
        assert own.http.get(address).status_code in (404, 410)
        own.until("/healthz", lambda _: parts(own, address) == [], 20)
    finally:
        assert own.stop() == 0


def expire(own: Service, address: str) -> None:
    """As after a day: a time to live of seconds would end what waits for an API that starts again."""
    database = sqlite3.connect(own.folder / "secateur.db", timeout=20)
    with closing(database), database:
        database.execute("UPDATE transfers SET expires_at = 0 WHERE id = ?", [address.rpartition("/")[2]])


def check_survives_kills(own: Service, tmp_path: Path, key: str) -> None:
    """The API is killed in the middle: what is sent again is at most 16 MiB, and the bytes are right."""
    file = tmp_path / "large.onnx"
    file.write_bytes(b"this is not a model" + os.urandom(48 * MIB))
    folder = own.folder / "artifacts"
    seen: list[int] = []
    killed: list[int] = []

    def on_bytes(done: int, _: int) -> None:
        seen.append(done)
        if done >= 36 * MIB and not killed:
            written = max(p.stat().st_size for p in folder.glob("transfer-*"))
            killed.append(written)
            os.kill(own.pids("-m api")[0], signal.SIGKILL)

    with Secateur(own.url, key) as client, pytest.raises(SecateurError, match="was rejected"):
        client.upload_model(file, on_bytes=on_bytes)
    back = next(after for before, after in pairwise(seen) if after < before)
    assert killed[0] - back <= 16 * MIB + MIB  # and a piece that was being written
    row = own.http.get("/v1/models").json()["items"][0]
    assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
