"""The service does what its OpenAPI document says; `benchmarks/conformance.py` asks for much more."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import HOUSE

BY_NOBODY = "/readyz"  # there is no broker here: it is not ready, and says so


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API alone, on an empty database."""
    tmp_path = tmp_path_factory.mktemp("conformance")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")}
    environment |= {"SECATEUR_DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "store.migrate"], cwd=HOUSE, env=environment, check=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        command = [sys.executable, "-m", "api", "--fd", str(fd)]
        log = (tmp_path / "api.log").open("w")
        process = subprocess.Popen(command, cwd=HOUSE, env=environment, pass_fds=[fd], stderr=log)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    httpx.get(f"{address}/healthz", timeout=60)
    yield address
    process.terminate()
    process.wait()
    log.close()


def test_a_few_generated_requests_of_each_operation(url, tmp_path):
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HOUSE / "benchmarks/schemathesis.toml")]
    command += ["run", f"{url}/openapi.json", "--checks", "all", "--phases", "fuzzing", "--max-examples", "2"]
    command += ["--seed", "1", "--no-shrink", "--continue-on-failure", "--exclude-path", BY_NOBODY, "--warnings", "off"]
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}  # of its hooks
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "No issues found" in done.stdout, done.stdout[-6000:]


@pytest.mark.parametrize(
    "address", ["/v1/jobs/%00", "/v1/models?cursor=%00", "/v1/jobs?model_id=%00", "/v1/jobs/a%20b"]
)
def test_what_can_be_no_id_is_refused_before_a_database_chokes_on_it(url, address):
    answer = httpx.get(url + address)
    assert answer.status_code == 422 and "match" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"model_id": "\ud800"}, ""),
        ({"model_id": "mdl_1\0"}, "/model_id"),
        ({"plan": {"budget": {"pruning_rate": "2"}}}, "/plan/budget/pruning_rate"),
        ({"plan": {"budget": {"pruning_rate": 2}, "admm": {"rounds": True}}}, "/plan/admm/rounds"),
        ({"plan": {"budget": {"pruning_rate": 2}, "train": {"output": "\ud800"}}}, "/plan/train"),
    ],
)
def test_json_is_held_to_its_schema(url, more, pointer):
    body = json.dumps({"plan": {"budget": {"pruning_rate": 2}}, **more})
    answer = httpx.post(f"{url}/v1/plans/check", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer, answer.text


def test_a_whole_number_may_be_written_as_one_with_a_fraction(url):
    plan = {"budget": {"pruning_rate": 2}, "admm": {"rounds": 3.0}}
    assert httpx.post(f"{url}/v1/plans/check", json={"plan": plan}).json()["plan"]["admm"]["rounds"] == 3


def test_a_method_that_is_not_taken_is_told_all_that_are(url):
    assert httpx.put(f"{url}/v1/jobs").headers["Allow"] == "GET, POST"


def test_the_document_asks_for_keys_where_the_service_does(url):
    operations = [o for item in httpx.get(f"{url}/openapi.json").json()["paths"].values() for o in item.values()]
    assert len(operations) > 40 and not [o for o in operations if "security" in o]
