"""API keys, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import admin
from api.deps import Cursor, Id, Limit, Read, Write
from api.problems import PRINTABLE, PROBLEM
from api.routes.uploads import PLACE, Time
from pruning.frozen import Asked
from store import keys
from store.keys import OWNER, Scope

router = APIRouter(
    prefix="/v1/keys",
    tags=["accounts"],
    dependencies=[Depends(admin)],
    responses={403: PROBLEM, 404: PROBLEM, 409: PROBLEM},
)


class KeyIn(Asked):
    """Whose key, and what it may do."""

    owner: str = Field(pattern=OWNER, examples=["anna"], description="An account; it may have several keys.")
    name: str | None = Field(default=None, max_length=255, pattern=PRINTABLE, description="What it is for.")
    scope: Scope = Field(
        default="write", description="write includes read; admin includes write, and all keys and quotas."
    )
    expires_in_days: float | None = Field(default=None, gt=0, le=36500, description="null: it does not expire.")


class KeyOut(BaseModel):
    """A key, without its secret: that was shown once."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    owner: str
    name: str | None
    scope: Scope
    created_at: Time
    last_used_at: Time | None = Field(description="To within a minute or so.")
    expires_at: Time | None
    revoked_at: Time | None


class NewKeyOut(KeyOut):
    """A key with its secret, which nobody can ask for again."""

    secret: str


class KeyPage(BaseModel):
    """A page of keys, newest first."""

    items: list[KeyOut]
    next_cursor: str | None


@router.post("", status_code=201, response_model=NewKeyOut, responses={201: {"headers": PLACE}})
def create(session: Write, body: KeyIn, response: Response) -> NewKeyOut:
    """Make a key. Its secret is in this answer and nowhere else."""
    key, secret = keys.create(session, body.owner, body.name, body.scope, body.expires_in_days)
    response.headers["Location"] = f"/v1/keys/{key.id}"
    response.headers["Cache-Control"] = "no-store"
    return NewKeyOut(**KeyOut.model_validate(key).model_dump(), secret=secret)


@router.get("", response_model=KeyPage)
def listing(
    session: Read, limit: Limit = 50, cursor: Cursor = None, owner: Annotated[str | None, Query(pattern=OWNER)] = None
) -> KeyPage:
    """All keys, or those of an owner; revoked and expired ones too."""
    page = keys.listing(session, owner, limit, cursor)
    return KeyPage(items=[KeyOut.model_validate(key) for key in page.items], next_cursor=page.next_cursor)


@router.get("/{key_id}", response_model=KeyOut)
def get(session: Read, key_id: Id) -> KeyOut:
    """One key."""
    return KeyOut.model_validate(keys.get(session, key_id))


@router.delete("/{key_id}", status_code=204)
def revoke(session: Write, key_id: Id) -> None:
    """Revoke a key, at once. The last admin key that works stays."""
    keys.revoke(session, key_id, keeps_an_admin=True)
