"""The whole service with its files on a real S3 server: nothing of them stays on its own disk but what it works on."""

import hashlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser
from secateur import Secateur

from tests import s3
from tests.acceptance.test_faults import LONG, begin, events, in_round
from tests.conftest import EXAMPLES, Service

pytestmark = pytest.mark.skipif(not s3.RCLONE, reason=s3.NO_S3)
SPOKEN = {"Tus-Resumable": "1.0.0"}
SLOW: dict[str, Any] = LONG | {"admm": {"rounds": 8, "epochs_per_round": 0.5}}
SHORT = {"budget": {"pruning_rate": 2}, "admm": {"rounds": 1}, "retrain": {"epochs": 1}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def own(server: s3.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("on-s3"), storage_seconds="1")
    running.environment |= server.environment
    running.start()
    yield running
    assert running.stop() == 0


def objects(server: s3.Server) -> set[str]:
    return {str(file.relative_to(server.files)) for file in server.files.rglob("*") if file.is_file()}


def piece(service: Service, address: str, offset: int, content: bytes) -> httpx.Response:
    headers = SPOKEN | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return service.http.patch(address, content=content, headers=headers)


def test_from_upload_to_download(own: Service, server: s3.Server, tmp_path: Path) -> None:
    job = begin(own, SHORT)
    assert own.ended(job)["status"] == "succeeded"
    files = own.http.get(f"/v1/jobs/{job}/artifacts").json()["items"]
    pruned = next(f for f in files if f["name"] == "pruned.onnx")
    answer = own.http.get(pruned["url"])
    assert answer.status_code == 307 and answer.headers["etag"] == f'"{pruned["sha256"]}"'
    assert answer.headers["location"].startswith(f"{server.url}/{s3.BUCKET}/") and not answer.content
    fetched = httpx.get(answer.headers["location"])
    assert hashlib.sha256(fetched.content).hexdigest() == pruned["sha256"]
    with Secateur(own.url) as client:
        (path,) = client.job(job).download(tmp_path, "pruned.onnx")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == pruned["sha256"]
        assert client.job(job).report()["accuracy"]
    page = own.http.get(f"/v1/jobs/{job}/report", headers={"Accept": "text/html"})
    assert page.status_code == 200 and page.text.startswith("<!")
    assert "sandbox" in page.headers["content-security-policy"]
    told = own.http.get(pruned["url"], params={"redirect": "false"})
    assert told.status_code == 204 and told.headers["location"].startswith(server.url)
    stored = {name.rpartition("/")[2] for name in objects(server)}
    assert {f["sha256"] for f in files} <= stored
    assert not (own.folder / "artifacts").exists() and not [*(own.folder / "incoming").iterdir()]
    assert len([*(own.folder / "cache" / "fetched").iterdir()]) == 2  # the model and the data set, once each


def test_a_page_that_has_a_key_sends_the_browser_there(
    own: Service,
    browser: Browser,
    server: s3.Server,
) -> None:
    """Its scripts may ask no other host, and a plain link could not carry the key."""
    content = (EXAMPLES / "digits.onnx").read_bytes()
    own.upload("models", content)
    page = browser.new_page(base_url=own.url)
    page.set_default_timeout(30_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto("/models")
    page.evaluate("sessionStorage.setItem('secateur-key', 'sct_any')")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download").first.click()
    assert saved.value.path().read_bytes() == content and saved.value.url.startswith(server.url)
    page.close()
    assert said == []


def test_a_storage_that_is_away_loses_nothing(own: Service, server: s3.Server) -> None:
    """Uploads are refused with a sentence; a job that cannot be fetched is handed back, and done when it is there."""
    ids = {}
    for noun in ("models", "datasets"):
        suffix = "onnx" if noun == "models" else "npz"
        ids[noun] = own.upload(noun, (EXAMPLES / f"digits.{suffix}").read_bytes())
    shutil.rmtree(own.folder / "cache" / "fetched")
    begun = own.http.post("/v1/models/transfers", headers=SPOKEN | {"Upload-Length": "100"}).headers["location"]
    assert piece(own, begun, 0, b"a" * 60).status_code == 204
    before = objects(server)
    server.stop()
    assert piece(own, begun, 60, b"b" * 40).status_code == 503
    answer = own.http.post("/v1/models", content=b"x" * 100)
    assert answer.status_code == 503 and "try again" in answer.json()["detail"]
    assert own.http.get("/readyz").json()["checks"]["storage"] != "ok"
    job = own.post_job(SHORT, model_id=ids["models"], dataset_id=ids["datasets"])
    own.until(f"/v1/jobs/{job}", lambda j: j["attempt"] >= 1)
    handed_back = "the storage of files was away"
    own.until(f"/v1/jobs/{job}/events", lambda page: handed_back in str(page))
    server.start()
    finished = piece(own, begun, 60, b"b" * 40)
    assert finished.status_code == 204, finished.text
    content = own.http.get(f"{finished.headers['location']}/content", follow_redirects=True)
    assert content.content == b"a" * 60 + b"b" * 40
    done = own.ended(job)
    assert done["status"] == "succeeded", done["error"]
    own.until("/healthz", lambda _: not any(name.startswith("transfers/") for name in objects(server)), 10)
    before = {name for name in before if not name.startswith("transfers/")}
    assert before <= objects(server) and [*(own.folder / "incoming").iterdir()] == []
    assert len(own.http.get("/v1/models").json()["items"]) == 2  # nothing of the upload that was refused


def test_a_job_goes_on_from_its_checkpoint_on_another_machine(own: Service, server: s3.Server) -> None:
    job = begin(own, SLOW)
    done = in_round(own, job, 3)["round"]
    names = {name.rpartition("/")[2] for name in objects(server) if name.startswith(f"checkpoints/{job}/")}
    assert names
    shutil.rmtree(own.folder / "cache" / "fetched")  # as on a machine that has nothing
    (pid,) = own.pids("worker -Q cpu")
    os.kill(pid, signal.SIGKILL)
    assert own.ended(job)["status"] == "succeeded"
    rounds = [e["data"]["round"] for e in events(own, job) if e["kind"] == "round" and e["data"]["phase"] == "admm"]
    assert sorted(set(rounds)) == list(range(1, SLOW["admm"]["rounds"] + 1))
    assert all(rounds.count(number) == 1 for number in range(1, done))
    own.until("/healthz", lambda _: not any(name.startswith("checkpoints/") for name in objects(server)), 10)
