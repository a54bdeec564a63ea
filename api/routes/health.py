"""Is it up, can it work, what is it doing."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from api.auth import bearer
from api.metrics import page
from api.problems import PROBLEM, Problem
from api.readiness import OK, Readiness
from store.checks import CHECKS
from store.settings import settings

router = APIRouter(tags=["health"])
readiness = Readiness(CHECKS)


class Health(BaseModel):
    """ok."""

    status: str = "ok"


class Ready(Health):
    """ok, by what was asked."""

    checks: dict[str, str]


@router.get("/healthz")
async def healthz() -> Health:
    """This process answers. Not in a thread: others may have taken all."""
    return Health()


@router.get("/readyz", responses={503: PROBLEM})
async def readyz() -> Ready:
    """Database, broker and storage answer too, within two seconds; else 503, with the same `checks`."""
    checks = await readiness.look()
    if failed := {name: word for name, word in checks.items() if word != OK}:
        detail = "; ".join(f"the {name}: {word}" for name, word in failed.items())
        raise Problem(503, detail, more={"checks": checks})
    return Ready(checks=checks)


@router.get("/metrics", response_class=PlainTextResponse, responses={401: PROBLEM})
def metrics(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> PlainTextResponse:
    """For Prometheus. With AUTH, or where SECATEUR_METRICS_TOKEN is set, for those who send that token."""
    _require_token(credentials)
    return PlainTextResponse(page(), media_type=CONTENT_TYPE_LATEST)


def _require_token(credentials: HTTPAuthorizationCredentials | None) -> None:
    """Keys are no use here: these are numbers about all owners."""
    token = settings().metrics_token
    if not token and not settings().auth:
        return
    if token and credentials and hmac.compare_digest(credentials.credentials.encode(), token.encode()):
        return
    detail = "send the service's SECATEUR_METRICS_TOKEN: Authorization: Bearer ..."
    raise Problem(401, detail if token else f"set SECATEUR_METRICS_TOKEN, and {detail}", {"WWW-Authenticate": "Bearer"})
