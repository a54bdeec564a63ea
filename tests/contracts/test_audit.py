"""The audit of the lock: it fails on what is known, and does not call unknown what it could not ask."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.conftest import HOUSE

KNOWN = {"id": "GHSA-0000", "summary": "bad", "affected": [], "modified": "2026-01-01T00:00:00Z", "aliases": []}


class Vulnerabilities(BaseHTTPRequestHandler):
    """An OSV service that knows of one package."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        package = {"name": asked, "ecosystem": "PyPI"}
        known = {**KNOWN, "affected": [{"package": package, "versions": ["3.1.6"], "ranges": []}]}
        body = json.dumps({"vulns": [known]} if asked == "jinja2" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Vulnerabilities) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def audit(folder: Path, pins: str, url: str) -> subprocess.CompletedProcess[str]:
    lock = folder / "lock"
    lock.write_text(pins)
    command = [sys.executable, ".ci/audit.py", str(lock), "-s", "osv", "--osv-url", url]
    return subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False)


def test_a_known_vulnerability_fails(tmp_path: Path, url: str) -> None:
    done = audit(tmp_path, "idna==3.20\nJinja2==3.1.6\n", url)
    assert done.returncode == 1
    assert done.stderr == "jinja2 3.1.6: GHSA-0000, fixed in no version yet\n"


def test_where_nobody_answers_it_is_said(tmp_path: Path) -> None:
    done = audit(tmp_path, "idna==3.20\n", "http://127.0.0.1:9")
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.startswith("NOT AUDITED: of 1 packages")
