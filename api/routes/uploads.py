"""What the routes of models and data sets have in common."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.orm import Session

from api.bodies import store_body
from api.files import download
from api.problems import PRINTABLE, PROBLEM, Problem
from store import artifacts, datasets, models, quotas, uploads
from store.artifacts import Blob
from store.database import after_commit, reading, writing
from store.queue import sender
from store.settings import settings
from store.tables import Dataset, Model

Time = Annotated[datetime, BeforeValidator(lambda v: datetime.fromtimestamp(v, UTC) if isinstance(v, float) else v)]
RETRY_SECONDS = "1"
AGAIN = {"Retry-After": RETRY_SECONDS}
Kind = Literal["model", "dataset"]
KNOWN = {
    "model": {"name"},
    "dataset": {"name", "format", "scale", "mean", "std", "size", "fit", "color", "layout"},
}
UploadName = Annotated[str, Query(max_length=255, pattern=PRINTABLE)]
ADD: dict[str, Callable[..., tuple[Model | Dataset, bool]]] = {"model": models.add, "dataset": datasets.add}
Out = TypeVar("Out", bound="UploadOut")
PLACE = {"Location": {"description": "Where it is.", "schema": {"type": "string"}, "required": True}}
UPLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The same bytes were there already", "headers": PLACE},
    201: {"headers": PLACE},
    503: PROBLEM,
    507: PROBLEM,
}


class UploadOut(BaseModel):
    """An upload. It is examined after the response: `status` becomes `ready` or `rejected` within seconds."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    sha256: str
    bytes: int
    status: Literal["validating", "ready", "rejected"]
    problems: list[str] = Field(description="Why it was rejected.")
    created_at: Time
    jobs: int = Field(default=0, description="How many jobs use it; it can be deleted when none does.")


def most(kind: str) -> int:
    """The largest upload of this kind, in one body or in pieces."""
    return settings().max_model_bytes if kind == "model" else settings().max_dataset_bytes


def room(owner: str) -> int | None:
    """Bytes that the account may still store; None: no limit."""
    with reading() as session:
        return quotas.room(session, owner)


def full(room: int) -> Problem:
    """The account has no room for it."""
    detail = (
        f"this account has room for {room:,} more bytes: delete models, data sets or jobs, or ask for a larger quota"
    )
    return Problem(413, detail, {"Connection": "close"})


def refuse_unknown(request: Request, kind: Kind) -> None:
    """Raises: Problem 422: a parameter that is none."""
    if unknown := set(request.query_params) - KNOWN[kind]:
        raise Problem(
            422, f"there is no parameter {', '.join(sorted(unknown))}; there are {', '.join(sorted(KNOWN[kind]))}"
        )


async def receive(
    request: Request, response: Response, kind: Kind, out: type[Out], owner: str, parameters: Mapping[str, Any]
) -> Out:
    """Store the body, add its row, wake a worker; 201, or 200 where it was there already.

    Raises: Problem 413 or 422. OSError: the disk is full. StorageAway.
    """
    largest, left = most(kind), await run_in_threadpool(room, owner)
    try:
        blob = await store_body(request, largest if left is None else min(largest, left))
    except Problem as refused:
        if refused.status == 413 and left is not None and left < largest:
            raise full(left) from refused
        raise
    row, is_new = await run_in_threadpool(_add, kind, out, owner, parameters, blob)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/{kind}s/{row.id}"
    return row


def add(
    session: Session, kind: str, owner: str, parameters: Mapping[str, Any], blob: Blob
) -> tuple[Model | Dataset, bool]:
    """The row of an upload, and whether it is new; then a worker is woken.

    Raises: Problem 413: no room. Problem 503: the database was away for longer than the file is left without a row.
    """
    left = quotas.room(session, owner) or 0
    row, is_new = ADD[kind](session, owner, blob=blob, **parameters)
    try:
        artifacts.touch(session, blob)
    except FileNotFoundError as error:
        detail = "the service could not note this upload in time and has cleared it away; send it again"
        raise Problem(503, detail, AGAIN) from error
    if is_new and not quotas.has_room(session, owner):  # others came in while this one was on its way
        raise full(left)
    if is_new:
        after_commit(session, partial(sender.wake, kind, row.id))
    return row, is_new


def _add(kind: str, out: type[Out], owner: str, parameters: Mapping[str, Any], blob: Blob) -> tuple[Out, bool]:
    with writing() as session:
        row, is_new = add(session, kind, owner, parameters, blob)
        return outs(session, out, [row])[0], is_new


def outs(session: Session, out: type[Out], rows: Sequence[Model | Dataset]) -> list[Out]:
    """Rows as they are shown: with the number of jobs that use each."""
    users = uploads.users(session, rows)
    return [out.model_validate(row).model_copy(update={"jobs": users.get(row.id, 0)}) for row in rows]


def content(row: Model | Dataset, suffix: str, redirect: bool) -> Response:
    """The bytes as they came."""
    return download(row.sha256, row.name if row.name.endswith(suffix) else f"{row.name}{suffix}", redirect)


def require_ready(row: Model | Dataset) -> None:
    """Raises: Problem 409: it is still being examined; 422: it was rejected."""
    if row.status == "validating":
        detail = f"{row.id} is still being examined; try again when its status is ready"
        raise Problem(409, detail, AGAIN)
    if row.status == "rejected":
        raise Problem(422, f"{row.id} was rejected: {'; '.join(row.problems)}")
