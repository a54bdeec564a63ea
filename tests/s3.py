"""A real S3 server to test against: rclone, which checks signatures, on a folder."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY, SECRET, BUCKET = "test-key", "test-secret", "secateur"
RCLONE = os.environ.get("SECATEUR_TEST_RCLONE", "")
NO_S3 = "SECATEUR_TEST_RCLONE names no rclone of 1.65 or newer to be the S3 server"


class Server:
    """Buckets are folders of `root`; it may be stopped and started again."""

    def __init__(self, root: Path, prefix: str = "here") -> None:
        self.root, self.files = root, root / BUCKET / prefix
        self.files.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "SECATEUR_ARTIFACTS_URL": f"s3://{BUCKET}/{prefix}",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def start(self) -> None:
        """Until it answers."""
        address = ("--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEY},{SECRET}")
        quiet = ("--vfs-cache-mode", "off", "--dir-cache-time", "1ms", "--log-level", "ERROR", "--config", os.devnull)
        self._process = subprocess.Popen(
            [RCLONE, "serve", "s3", *address, *quiet, str(self.root)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the S3 server did not start")

    def stop(self) -> None:
        """At once."""
        self._process.kill()
        self._process.wait()


@contextmanager
def server(root: Path) -> Iterator[Server]:
    """One that runs."""
    made = Server(root)
    made.start()
    try:
        yield made
    finally:
        made.stop()
