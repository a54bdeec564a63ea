"""A 2 GB upload in pieces, cut 20 times at random and resumed: throughput between cuts, the API's memory, the hash."""

import hashlib
import http.client
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.results import running_service, save

BYTES = 2_000_000_000
CUTS = 20
PIECE = os.urandom(1 << 20)
SPOKEN = {"Tus-Resumable": "1.0.0"}


def main() -> None:
    cuts = sorted(random.sample(range(1, BYTES), CUTS))
    with running_service() as (url, pid, _):
        api = next(p for p in psutil.Process(pid).children() if "-m api" in " ".join(p.cmdline()))
        httpx.post(f"{url}/v1/datasets", content=b"warm")
        before, start = api.memory_info().rss, time.perf_counter()
        begun = httpx.post(f"{url}/v1/datasets/transfers", headers=SPOKEN | {"Upload-Length": str(BYTES)})
        address = f"{url}{begun.headers['location']}"
        with _peak(api) as highest:
            offset, seconds = 0, 0.0
            for cut in (*cuts, BYTES):
                seconds += _send(address, offset, max(cut, offset))
                offset = _offset(address)
        whole = time.perf_counter() - start
        row = httpx.get(f"{url}/v1/datasets/{httpx.get(address).json()['upload_id']}").json()
    assert row["sha256"] == _hash(), "what was stored is not what was sent"
    save(
        "transfers",
        {
            "bytes": BYTES,
            "cuts": CUTS,
            "between cuts, MB/s": round(BYTES / 1e6 / seconds),
            "whole upload, cuts included, s": round(whole, 1),
            "rise of resident memory, MB": round((highest[0] - before) / 1e6, 1),
            "sha256 is that of the file": True,
        },
    )


def _send(address: str, offset: int, cut: int) -> float:
    """From the offset to the cut, where the connection is closed; at the end the answer is awaited."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    start = time.perf_counter()
    connection.putrequest("PATCH", place.path)
    headers = SPOKEN | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    for name, value in (headers | {"Content-Length": str(BYTES - offset)}).items():
        connection.putheader(name, value)
    connection.endheaders()
    for piece in _pieces(offset, cut):
        connection.send(piece)
    if cut == BYTES:
        assert connection.getresponse().status == 204
    connection.close()
    return time.perf_counter() - start


def _offset(address: str) -> int:
    """Where it goes on, once the service has seen that the connection is gone."""
    offset = -1
    while (found := int(httpx.head(address, headers=SPOKEN).headers["upload-offset"])) != offset:
        offset = found
        time.sleep(0.1)
    return offset


def _pieces(start: int, end: int) -> Iterator[bytes]:
    """The same bytes again and again, as if they were one file."""
    while start < end:
        at = start % len(PIECE)
        yield (piece := PIECE[at : min(len(PIECE), at + end - start)])
        start += len(piece)


def _hash() -> str:
    known = hashlib.sha256()
    for piece in _pieces(0, BYTES):
        known.update(piece)
    return known.hexdigest()


@contextmanager
def _peak(process: psutil.Process) -> Iterator[list[int]]:
    """The highest resident memory while the context lasts."""
    highest, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
