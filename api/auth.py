"""Who asks: the owner of an API key, or `local` where no keys are asked for."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.problems import Problem
from store import keys, logs
from store.database import reading
from store.settings import settings

LOCAL = "local"
bearer = HTTPBearer(auto_error=False, description="An API key: sct_...")


def owner(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
    """Raises: Problem 401: keys are asked for and this is none."""
    if not settings().auth:
        return LOCAL
    if credentials is not None:
        with reading() as session:
            if found := keys.owner_of(session, credentials.credentials):
                logs.bind(owner=found)
                return found
    raise Problem(401, "send an API key: Authorization: Bearer sct_...", {"WWW-Authenticate": "Bearer"})


Owner = Annotated[str, Depends(owner)]
