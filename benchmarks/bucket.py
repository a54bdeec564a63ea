"""1 GB to a service whose files are in a bucket, and back: speed, and how much the API's resident memory rises.

The S3 server is rclone on this machine's disk (SECATEUR_TEST_RCLONE names it): both share the cores with the service.
"""

import os
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.results import running_service, save
from benchmarks.upload import BYTES, api_of, upload
from tests import s3


def main() -> None:
    values: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as root, s3.server(Path(root)) as server:
        os.environ.update(server.environment)
        with running_service() as (url, pid, folder):
            api = api_of(pid)
            httpx.post(f"{url}/v1/datasets", content=b"warm")
            seconds, rise = upload(url, api, "raw body")
            values["upload, MB/s"] = round(BYTES / 1e6 / seconds)
            values["upload, rise of resident memory, MB"] = round(rise / 1e6, 1)
            values["download, MB/s"] = round(BYTES / 1e6 / _download(url))
            values["files left on the API's disk"] = len(list((folder / "incoming").iterdir()))
    save("bucket", values)


def _download(url: str) -> float:
    rows = httpx.get(f"{url}/v1/datasets").json()["items"]
    id = next(row["id"] for row in rows if row["bytes"] == BYTES)
    start = time.perf_counter()
    with httpx.stream("GET", f"{url}/v1/datasets/{id}/content", follow_redirects=True, timeout=120) as response:
        assert sum(map(len, response.iter_bytes())) == BYTES
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
