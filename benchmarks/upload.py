"""A 1 GB upload on loopback: throughput, and how much the API's resident memory rises."""

import os
import threading
import time
from collections.abc import Iterator

import httpx
import psutil

from benchmarks.results import running_service, save

BYTES = 1_000_000_000
PIECE = os.urandom(1 << 20)


def main() -> None:
    values: dict[str, object] = {}
    with running_service() as (url, pid, _):
        api = api_of(pid)
        httpx.post(f"{url}/v1/datasets", content=b"warm")
        for kind in ("raw body", "multipart"):
            seconds, rise = upload(url, api, kind)
            values[f"{kind}, MB/s"] = round(BYTES / 1e6 / seconds)
            values[f"{kind}, rise of resident memory, MB"] = round(rise / 1e6, 1)
    save("upload", values)


def api_of(pid: int) -> psutil.Process:
    """Of a service."""
    return next(p for p in psutil.Process(pid).children() if "-m api" in " ".join(p.cmdline()))


def upload(url: str, api: psutil.Process, kind: str) -> tuple[float, int]:
    """1 GB; seconds, and bytes by which resident memory rose."""
    before = api.memory_info().rss
    highest, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], api.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' if kind == "multipart" else b""
    tail = b"\r\n--b--\r\n" if kind == "multipart" else b""
    headers = {"Content-Length": str(BYTES + len(head) + len(tail))}
    if kind == "multipart":
        headers["Content-Type"] = "multipart/form-data; boundary=b"
    response = httpx.post(f"{url}/v1/datasets?name={kind[0]}", content=_body(head, tail), headers=headers, timeout=120)
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    assert response.status_code in (200, 201) and response.json()["bytes"] == BYTES, response.text
    return seconds, highest[0] - before


def _body(head: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    left = BYTES
    while left:
        yield PIECE[:left]
        left -= min(left, len(PIECE))
    yield tail


if __name__ == "__main__":
    main()
