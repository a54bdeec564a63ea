"""What an operator sees of a real service: one trace from the POST to the last phase, logs that can be read by
machines, and no password in any of it.
"""

import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.parts import worker_command
from tests.conftest import HOUSE, Service, part_of_a_service, save_npz, tiny_model

TOKEN = "metrics-token-of-mine"
PLAN = {"budget": {"pruning_rate": 4}, "admm": {"rounds": 1}, "retrain": {"epochs": 1}}
DATABASE_PASSWORD, BROKER_PASSWORD, WRONG_KEY = "dbpw-91xk", "brokerpw-27zq", "sct_" + "w" * 43


class Collector(ThreadingHTTPServer):
    """The receiving end of OTLP/HTTP; spans by name of the service."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[tuple[str, Span]] = []

    def named(self, name: str, service: str) -> list[Span]:
        return [span for of, span in self.spans if span.name == name and of == service]


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert self.path == "/v1/traces" and isinstance(self.server, Collector)
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in sent.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            spans = [(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
            self.server.spans += spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Service]:
    """A service with keys, traces and logs in JSON, in which one job has ended."""
    running = Service(
        tmp_path_factory.mktemp("watched"),
        auth="true",
        log_format="json",
        metrics_token=TOKEN,
        otlp_endpoint=f"http://127.0.0.1:{collector.server_address[1]}",
    ).start()
    running.http.headers["Authorization"] = f"Bearer {running.new_key('anna')}"
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def done(watched: Service, tmp_path_factory: pytest.TempPathFactory) -> dict:
    data = save_npz(tmp_path_factory.mktemp("data") / "data.npz")
    model_id = watched.upload("models", tiny_model().SerializeToString())
    dataset_id = watched.upload("datasets", data.read_bytes())
    job = watched.ended(watched.post_job(PLAN, model_id=model_id, dataset_id=dataset_id))
    assert job["status"] == "succeeded", job["error"]
    return job


def lines(service: Service, part: str) -> list[dict]:
    """Those of our own; Celery greets in plain text."""
    written = (service.folder / "logs" / f"{part}.log").read_text().splitlines()
    return [json.loads(line) for line in written if line.startswith("{")]


def test_one_trace_from_the_post_to_the_last_phase(watched: Service, done: dict, collector: Collector) -> None:
    end = time.monotonic() + 30
    while not (collector.named("job", "secateur-worker") and collector.named("POST /v1/jobs", "secateur-api")):
        assert time.monotonic() < end, [(of, span.name) for of, span in collector.spans]
        time.sleep(0.1)
    (posted,) = collector.named("POST /v1/jobs", "secateur-api")
    (job,) = collector.named("job", "secateur-worker")
    assert job.parent_span_id == posted.span_id
    phases = [span for _, span in collector.spans if span.parent_span_id == job.span_id]
    assert [p.name for p in phases][::9] == ["import", "report"] and len(phases) == 10
    assert {span.trace_id for span in (posted, job, *phases)} == {posted.trace_id}
    assert all(a.end_time_unix_nano == b.start_time_unix_nano for a, b in itertools.pairwise(phases))
    for noun, kind in (("models", "model"), ("datasets", "dataset")):
        (uploaded,) = collector.named(f"POST /v1/{noun}", "secateur-api")
        (examined,) = collector.named(kind, "secateur-worker")
        assert examined.trace_id == uploaded.trace_id != posted.trace_id
    assert not collector.named("GET /readyz", "secateur-api")


def test_lines_say_whose_they_are(watched: Service, done: dict, collector: Collector) -> None:
    answer = watched.http.get("/v1/jobs?q=hunter2", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    watched.until("/healthz", lambda _: any(line.get("request_id") == "mine-1" for line in lines(watched, "api")), 10)
    (access,) = [line for line in lines(watched, "api") if line.get("request_id") == "mine-1"]
    assert access["logger"] == "api.requests" and access["ms"] > 0
    said = {k: access[k] for k in ("level", "method", "route", "status", "owner")}
    assert said == {"level": "INFO", "method": "GET", "route": "/v1/jobs", "status": 200, "owner": "anna"}
    assert len(access["trace_id"]) == 32
    supervised = [line for line in lines(watched, "worker-jobs") if line.get("job_id") == done["id"]]
    posted = [line for line in lines(watched, "api") if line.get("route") == "/v1/jobs" and line["method"] == "POST"]
    assert supervised and {(x["attempt"], x["trace_id"]) for x in supervised} == {(1, posted[0]["trace_id"])}


def test_the_numbers_of_the_job_are_there_for_who_has_the_token(watched: Service, done: dict) -> None:
    assert watched.http.get("/metrics").status_code == 401
    text = watched.http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert 'secateur_jobs_ended_total{status="succeeded"} 1.0' in text
    assert 'secateur_phase_seconds_count{phase="retrain"} 1.0' in text
    assert 'secateur_http_requests_total{method="POST",route="/v1/jobs",status="201"} 1.0' in text


def test_no_key_is_logged(watched: Service, done: dict) -> None:
    assert watched.http.get("/v1/jobs", headers={"Authorization": f"Bearer {WRONG_KEY}"}).status_code == 401
    written = "".join(file.read_text() for file in (watched.folder / "logs").glob("*.log"))
    key = watched.http.headers["Authorization"].removeprefix("Bearer ")
    assert not [secret for secret in (key, WRONG_KEY, TOKEN, "hunter2") if secret in written]


@contextmanager
def started(folder: Path, *command: str, **settings: str) -> Iterator[Path]:
    """A part of the service whose database and broker are not there; its standard error."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")} | {
        "SECATEUR_DATA_DIR": str(folder / "data"),
        "SECATEUR_DATABASE_URL": f"postgresql+psycopg://anna:{DATABASE_PASSWORD}@127.0.0.1:1/none",
        "SECATEUR_BROKER_URL": f"redis://:{BROKER_PASSWORD}@127.0.0.1:1/0",
        **settings,
    }
    written = folder / "stderr"
    with part_of_a_service(command, environment, written):
        yield written


def until(written: Path, word: str) -> None:
    end = time.monotonic() + 60
    while word not in written.read_text():
        assert time.monotonic() < end, written.read_text()
        time.sleep(0.1)


def no_secret_in(text: str) -> None:
    assert not [s for s in (DATABASE_PASSWORD, BROKER_PASSWORD, WRONG_KEY) if s in text], text


def test_an_api_without_database_and_broker_tells_no_password(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with started(tmp_path, sys.executable, "-m", "api", SECATEUR_AUTH="true", SECATEUR_PORT=str(port)) as written:
        until(written, "startup complete")
        headers = {"Authorization": f"Bearer {WRONG_KEY}"}
        get = partial(httpx.get, headers=headers, timeout=30)
        url = f"http://127.0.0.1:{port}"
        assert get(f"{url}/healthz").status_code == 200
        ready, *asked = (get(f"{url}{path}") for path in ("/readyz", "/v1/jobs", "/metrics"))
    checks = ready.json()["checks"]
    assert ready.status_code == 503 and "ok" not in (checks["database"], checks["broker"])
    assert asked[0].status_code == 503 and asked[0].headers["retry-after"]
    for answer in (ready, *asked):
        no_secret_in(answer.text)
        assert not [w for w in ("Traceback", "127.0.0.1", "anna", str(HOUSE)) if w in answer.text], answer.text
    no_secret_in(written.read_text())
    assert "the database is away" in written.read_text()  # for the operator


def test_a_worker_without_database_and_broker_tells_no_password(tmp_path: Path) -> None:
    with started(tmp_path, *worker_command("lost", "cpu")) as written:
        until(written, "Cannot connect to")
    no_secret_in(written.read_text())
