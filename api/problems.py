"""Errors as RFC 9457 problem details: the one place where exceptions meet HTTP."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api import headers
from pruning.errors import DatasetMismatch, InvalidPlan
from pruning.faults import sentence
from store import database, disk, logs
from store.errors import Conflict, Gone, IdempotencyMismatch, NotFound, QueueFull, UnfitOwner
from store.storage import StorageAway

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
REQUEST_ID = "secateur.request_id"  # where a request's scope has its id
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"  # names; PostgreSQL has no NUL, and terminals obey the others
log = logging.getLogger(__name__)
TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    411: "Length required",
    412: "Another version of the protocol",
    413: "Too large",
    415: "Another type of content",
    422: "Not acceptable as it is",
    423: "Locked",
    429: "Too many requests",
    460: "Checksum mismatch",
    500: "Internal error",
    503: "Not ready",
    507: "No space left",
}
STATUS_OF = {
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    IdempotencyMismatch: 422,
    UnfitOwner: 422,
    DatasetMismatch: 422,
    StorageAway: 503,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "request_id": {"type": "string", "description": "Of an error in the service itself: its log says more."},
        "checks": {"type": "object", "description": "Of /readyz."},
        "errors": {
            "type": "array",
            "description": "Each wrong place of the request.",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
PROBLEM: dict[str, Any] = {
    "description": "Problem details (RFC 9457)",
    "content": {
        "application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "example": {"type": "about:blank", "title": "Not found", "status": 404, "detail": "there is no job job_1"},
        }
    },
}


class Problem(Exception):
    """An error for the client, made in a route."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        errors: Sequence[Any] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.errors = status, detail, headers, list(errors)
        self.more = more


def render(
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    errors: Sequence[Any] = (),
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """A problem as a response; more: extension members."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        **(more or {}),
    }
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Teach an application to answer all errors as problems."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(InvalidPlan, _invalid_plan)
    app.add_exception_handler(QueueFull, _queue_full)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    for kind in (OSError, *database.AWAY):
        app.add_exception_handler(kind, _system)
    app.add_exception_handler(ClientDisconnect, _cut)
    for kind in STATUS_OF:
        app.add_exception_handler(kind, _expected)


def _problem(_: Request, error: Any) -> JSONResponse:
    return render(error.status, error.detail, error.headers, error.errors, error.more)


def _invalid_plan(_: Request, error: Any) -> JSONResponse:
    return render(422, str(error), errors=[{"pointer": f"/plan{error.pointer}", "detail": str(error)}])


def _expected(_: Request, error: Any) -> JSONResponse:
    return render(STATUS_OF[type(error)], str(error))


def _queue_full(_: Request, error: Any) -> JSONResponse:
    return render(429, str(error), {"Retry-After": str(error.retry_after)})


def _system(request: Request, error: Any) -> JSONResponse:
    if disk.is_full(error) or database.is_full(error):
        return render(507, "the service has no space left for this; try again later, or ask who runs it for room")
    if database.is_away(error):
        log.warning("%s %s: the database is away: %s", request.method, request.url.path, error)
        return render(503, "the service's database does not answer; try again in a moment", {"Retry-After": "1"})
    return _unexpected(request, error)


def _cut(*_: object) -> JSONResponse:
    return render(400, "the request broke off")  # nobody reads it; but it is no error of the service


def _invalid_request(_: Request, error: Any) -> JSONResponse:
    errors = [{"pointer": _pointer(e["loc"]), "detail": _sentence(e)} for e in error.errors()]
    return render(422, "; ".join(f"{e['pointer'] or 'the body'}: {e['detail']}" for e in errors[:5]), errors=errors)


def _pointer(location: Sequence[Any]) -> str:
    """A JSON pointer into the body; other parts of the request keep their name."""
    parts = [str(p).replace("~", "~0").replace("/", "~1") for p in location]
    return "".join(f"/{p}" for p in (parts[1:] if parts[:1] == ["body"] else parts))


def _sentence(error: Any) -> str:
    if tuple(error["loc"]) == ("body",) and error["type"] in ("model_attributes_type", "dict_type"):
        return "send a JSON object, with the header Content-Type: application/json"
    return sentence(error)


def _http(request: Request, error: Any) -> JSONResponse:
    told = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else {}
    return render(error.status_code, str(error.detail), {**(error.headers or {}), **told})


def _allowed(request: Request) -> list[str]:
    """All methods of an address: the router names those of the first route alone."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return [m for m, scope in scopes.items() if any(r.matches(scope)[0] is Match.FULL for r in request.app.routes)]


def _unexpected(request: Request, error: Any) -> JSONResponse:
    with logs.bound(request_id=request.scope.get(REQUEST_ID)):
        log.error("%s %s", request.method, request.url.path, exc_info=error)
    request_id = str(request.scope.get(REQUEST_ID))  # this answer is made outside of all middleware
    detail = f"an error in the service itself; its log says more, under request {request_id}"
    told = {**headers.of(request.scope), "X-Request-Id": request_id}
    return render(500, detail, told, more={"request_id": request_id})
