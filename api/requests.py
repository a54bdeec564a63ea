"""What is known of every request: its id, a line in the log, and numbers for /metrics."""

import logging
import re
import time
import uuid

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from api.layer import Layer
from api.problems import METHODS, REQUEST_ID
from store import logs, tracing

SANE = re.compile(r"[\w.-]{1,64}", re.ASCII)
QUIET = ("/healthz", "/readyz", "/metrics", "/static/{name}")  # asked for all the time
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
PROCESS = CollectorRegistry()
ANSWERED = Counter(
    "secateur_http_requests_total",
    "Requests that this process has answered.",
    ["method", "route", "status"],
    registry=PROCESS,
)
SECONDS = Histogram(
    "secateur_http_request_duration_seconds",
    "Time until the answer began, of this process; a body is received by then, a stream or a file not yet sent.",
    ["method", "route"],
    buckets=BUCKETS,
    registry=PROCESS,
)
log = logging.getLogger(__name__)


class Requests(Layer):
    """The outermost: gives each request an id, which its answer has as X-Request-Id."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and say in one line what became of it."""
        request_id = scope[REQUEST_ID] = _id(Headers(scope=scope).get("x-request-id"))
        exchange = _Exchange(scope, send, request_id)
        with logs.bound(request_id=request_id, trace_id=tracing.trace_id(tracing.traceparent())):
            try:
                await self.app(scope, receive, exchange.send)
            finally:
                exchange.end()


class _Exchange:
    """A request and its answer. Without an answer it counts as 500, which is what an outer layer then sends."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope, self._send, self._request_id = scope, send, request_id
        self._began = time.perf_counter()
        self._status, self._seconds = 500, -1.0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._seconds = message["status"], self._elapsed()
            MutableHeaders(scope=message)["X-Request-Id"] = self._request_id
        await self._send(message)

    def end(self) -> None:
        method = self._scope["method"] if self._scope["method"] in METHODS else "other"
        route = getattr(self._scope.get("route"), "path", "unmatched")  # never the path: there is no end of those
        ANSWERED.labels(method, route, self._status).inc()
        SECONDS.labels(method, route).observe(self._seconds if self._seconds >= 0 else self._elapsed())
        ms = round(self._elapsed() * 1000, 1)
        level = logging.DEBUG if route in QUIET and self._status < 400 else logging.INFO
        said = {"method": method, "route": route, "status": self._status, "ms": ms}
        log.log(level, "%s %s %d in %.1f ms", method, route, self._status, ms, extra=said)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began


def _id(given: str | None) -> str:
    return given if given and SANE.fullmatch(given) else uuid.uuid4().hex
