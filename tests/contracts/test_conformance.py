"""The service does what its OpenAPI document says; `benchmarks/conformance.py` asks for much more."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import HOUSE

BY_NOBODY = "/readyz"  # there is no broker here: it is not ready, and says so


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """An API alone, on an empty database."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")}
    environment |= {"SECATEUR_DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "store.migrate"], cwd=HOUSE, env=environment, check=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        command = [sys.executable, "-m", "api", "--fd", str(fd)]
        log = (tmp_path / "api.log").open("w")
        process = subprocess.Popen(command, cwd=HOUSE, env=environment, pass_fds=[fd], stderr=log)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield address
    process.terminate()
    process.wait()
    log.close()


def test_a_few_generated_requests_of_each_operation(url, tmp_path):
    httpx.get(f"{url}/healthz", timeout=60)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HOUSE / "benchmarks/schemathesis.toml")]
    command += ["run", f"{url}/openapi.json", "--checks", "all", "--phases", "fuzzing", "--max-examples", "2"]
    command += ["--seed", "1", "--no-shrink", "--continue-on-failure", "--exclude-path", BY_NOBODY, "--warnings", "off"]
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}  # of its hooks
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "No issues found" in done.stdout, done.stdout[-6000:]
