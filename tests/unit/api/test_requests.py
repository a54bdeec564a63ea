import logging
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import problems
from api.requests import PROCESS, Requests
from store import logs
from tests.conftest import run_async


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    problems.install(made)
    made.add_middleware(Requests)

    @made.get("/things/{name}")
    def thing(name: str) -> str:
        logs.bind(owner="anna")
        return name

    @made.get("/broken")
    def broken() -> str:
        raise RuntimeError("no")

    return made


class Seen(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)


def ask(app: FastAPI, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers)

    return run_async(asked())


def counted(method: str, route: str, status: str) -> float:
    labels = {"method": method, "route": route, "status": status}
    return PROCESS.get_sample_value("secateur_http_requests_total", labels) or 0.0


def test_a_sane_id_is_taken_and_any_other_is_replaced(app):
    assert ask(app, "/things/a", **{"X-Request-Id": "Abc-1.2_3"}).headers["x-request-id"] == "Abc-1.2_3"
    for bad in ("", "a b", "x" * 65, "a;b"):
        made = ask(app, "/things/a", **{"X-Request-Id": bad}).headers["x-request-id"]
        assert made != bad and len(made) == 32


def test_every_answer_has_an_id(app):
    for path, status in (("/nothing", 404), ("/broken", 500), ("/things/a", 200)):
        answer = ask(app, path)
        assert answer.status_code == status and len(answer.headers["x-request-id"]) == 32


def test_an_unexpected_error_names_its_request_and_nothing_else(app, caplog):
    answer = ask(app, "/broken", **{"X-Request-Id": "r-1"})
    body = answer.json()
    assert body["request_id"] == answer.headers["x-request-id"] == "r-1"
    assert "r-1" in body["detail"] and "no" not in body["detail"].split() and "Traceback" not in answer.text
    assert any(record.exc_info for record in caplog.records if record.name == "api.problems")


def test_requests_are_counted_by_template(app):
    before = counted("GET", "/things/{name}", "200")
    ask(app, "/things/a")
    ask(app, "/things/b?key=secret")
    assert counted("GET", "/things/{name}", "200") == before + 2
    before = counted("other", "unmatched", "404")
    ask(app, "/made-up", method="BREW")
    assert counted("other", "unmatched", "404") == before + 1
    before = counted("GET", "/broken", "500")
    ask(app, "/broken")
    assert counted("GET", "/broken", "500") == before + 1


def test_a_line_for_each_request_without_query_or_path(app, caplog):
    handler = Seen()
    handler.addFilter(logs.enrich)
    logging.getLogger("api.requests").addHandler(handler)
    try:
        with caplog.at_level(logging.INFO):
            ask(app, "/things/a?token=hunter2", Authorization="Bearer hunter2hunter2", **{"X-Request-Id": "r-2"})
    finally:
        logging.getLogger("api.requests").removeHandler(handler)
    (line,) = handler.lines
    assert (line.method, line.route, line.status, line.owner) == ("GET", "/things/{name}", 200, "anna")
    assert line.request_id == "r-2" and line.ms >= 0
    assert "hunter2" not in str(vars(line))
