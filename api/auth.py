"""Who asks, and whether they may: the owner of an API key, or `local` where no keys are asked for.

What a key's scope lets it do is decided here, by the method; routers of administrators add `Depends(admin)`.
"""

from typing import Annotated, NoReturn

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.pace import pace
from api.problems import Problem
from store import keys, logs, quotas
from store.database import reading
from store.key_uses import uses
from store.keys import Caller, Scope
from store.settings import settings

LOCAL = "local"
READS = ("GET", "HEAD", "OPTIONS")
bearer = HTTPBearer(auto_error=False, description="An API key: sct_...")
CHALLENGE = {"WWW-Authenticate": "Bearer"}


def caller(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Caller:
    """Raises: Problem 401: keys are asked for and this is none; 403: its scope is too small; 429: too often."""
    if not settings().auth:
        return Caller(LOCAL, "write")
    if credentials is None:
        raise Problem(401, "send an API key: Authorization: Bearer sct_...", CHALLENGE)
    with reading() as session:
        found = keys.caller(session, credentials.credentials)
        most = quotas.of(session, found.owner).max_requests_a_minute if found else None
    if found is None:
        _refuse(request)
    logs.bind(owner=found.owner)
    uses.note(found.key_id or "")
    _keep_pace(request, found.owner, most)
    _require(found, "read" if request.method in READS else "write")
    return found


async def owner(caller: Annotated[Caller, Depends(caller)]) -> str:
    """Whose rows are meant. Async, as admin: a function that waits for nothing costs no change of threads."""
    return caller.owner


async def admin(caller: Annotated[Caller, Depends(caller)]) -> None:
    """Raises: Problem 409: there are no keys; 403: this one is not an administrator's."""
    if not settings().auth:
        raise Problem(409, "this service asks for no keys: start it with SECATEUR_AUTH=true to have keys and quotas")
    _require(caller, "admin")


Asking = Annotated[Caller, Depends(caller)]
Owner = Annotated[str, Depends(owner)]


def _require(caller: Caller, scope: Scope) -> None:
    if not caller.may(scope):
        raise Problem(403, f"this needs a key with the scope {scope}; this key has the scope {caller.scope}")


def _keep_pace(request: Request, owner: str, most: int | None) -> None:
    if most is None or (taken := pace.take("requests", owner, most)) is None:
        return
    request.state.headers = taken.headers("requests")  # on every response: api.headers puts them there
    if not taken.is_within:
        detail = f"this account may send {most:,} requests a minute; try again in {taken.seconds} s"
        raise Problem(429, detail, {"Retry-After": str(taken.seconds)})


def _refuse(request: Request) -> NoReturn:
    """By address; a key that works is asked for nothing here: neighbours of one who guesses are not locked out."""
    most, address = settings().max_wrong_keys_a_minute, request.client.host if request.client else ""
    taken = pace.take("wrong-keys", address, most) if most else None
    if taken is not None and not taken.is_within:
        detail = f"too many requests with wrong keys came from this address; try again in {taken.seconds} s"
        raise Problem(429, detail, {"Retry-After": str(taken.seconds)})
    raise Problem(401, "this API key is unknown, revoked or expired", CHALLENGE)
