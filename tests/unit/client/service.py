"""A service that answers as it is told, and a clock that costs no time."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from secateur import Patience, Secateur, clock

JOB: dict[str, Any] = {
    "id": "job_1",
    "name": "<b>digits</b>",
    "labels": [],
    "model_id": "mdl_1",
    "dataset_id": "dat_1",
    "plan": {},
    "status": "running",
    "phase": "admm",
    "progress": 0.25,
    "round": 3,
    "eta_seconds": 61.0,
    "attempt": 1,
    "queue_position": None,
    "goal_met": None,
    "error": None,
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
}
METRICS: dict[str, Any] = {
    "metric": ["top1", "top1"],
    "step": [0, 1],
    "phase": ["baseline", "admm"],
    "round": [0, 1],
    "accuracy": [0.99, 0.98],
    "accuracy_pruned": [None, 0.5],
    "pruning_rate": [None, 20],
}
REPORT: dict[str, Any] = {
    "headline": "100 weights became <5>",
    "goal_met": True,
    "accuracy": {"metric": "top1", "dense": 0.99, "pruned": 0.98, "drop": 0.01},
    "compression": {
        "weights_total": 100,
        "weights_kept": 5,
        "pruning_rate": 20,
        "bytes": {"dense": 4000, "pruned": 2000, "packed": 100},
    },
    "latency": {"dense_ms": 2.0, "pruned_ms": 1.0, "speedup": 2.0},
}
Answer = httpx.Response | Exception


class Scripted:
    """Answers by (method, path), in order; the last answer of a list stays."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        self.on("POST", "/v1/plans/check", {"plan": {}, "layers": [], "highest_rate": None})
        self.asked: list[httpx.Request] = []

    def on(self, method: str, path: str, *answers: Answer | dict[str, Any]) -> "Scripted":
        made = [httpx.Response(200, json=a) if isinstance(a, dict) else a for a in answers]
        self.answers[method, path] = made
        return self

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answers = self.answers.get((request.method, request.url.path))
        if not answers:
            return httpx.Response(404, json={"detail": f"there is no {request.url.path}"})
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, patience: Patience | None = None) -> Secateur:
        return Secateur("http://test", patience=patience, transport=httpx.MockTransport(self))


class Clock:
    """Sleeping moves it."""

    def __init__(self) -> None:
        self.time, self.pauses = 0.0, list[float]()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.pauses.append(seconds)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(clock, "now", fake.now)
    monkeypatch.setattr(clock, "sleep", fake.sleep)
    return fake


class Cut(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("cut")


def problem(status: int, detail: str, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    return httpx.Response(status, headers=headers, content=json.dumps({"detail": detail, **more}))
