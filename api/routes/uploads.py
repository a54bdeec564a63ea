"""What the routes of models and data sets have in common."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.orm import Session

from api.bodies import store_body
from api.problems import PRINTABLE, PROBLEM, Problem
from store import artifacts, quotas, uploads
from store.artifacts import Blob
from store.database import reading, writing
from store.queue import sender
from store.settings import settings
from store.tables import Dataset, Model

Time = Annotated[datetime, BeforeValidator(lambda v: datetime.fromtimestamp(v, UTC) if isinstance(v, float) else v)]
RETRY_SECONDS = "1"
KNOWN = {
    "model": {"name"},
    "dataset": {"name", "format", "scale", "mean", "std", "size", "fit", "color", "layout"},
}
UploadName = Annotated[str, Query(max_length=255, pattern=PRINTABLE)]
Row = TypeVar("Row", bound=Model | Dataset)
Out = TypeVar("Out", bound="UploadOut")
Add = Callable[[Session, Blob], tuple[Row, bool]]
UPLOAD: dict[int | str, dict[str, Any]] = {413: PROBLEM, 422: PROBLEM, 507: PROBLEM}


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


async def receive(
    request: Request, response: Response, owner: str, kind: Literal["model", "dataset"], out: type[Out], add: Add[Row]
) -> Out:
    """Store the body, add its row, wake a worker; 201, or 200 where it was there already.

    Raises: Problem 413, 422 or 507.
    """
    if unknown := set(request.query_params) - KNOWN[kind]:
        raise Problem(
            422, f"there is no parameter {', '.join(sorted(unknown))}; there are {', '.join(sorted(KNOWN[kind]))}"
        )
    most, room = getattr(settings(), f"max_{kind}_bytes"), await run_in_threadpool(_room, owner)
    try:
        blob = await store_body(request, most if room is None else min(most, room))
    except Problem as refused:
        if refused.status == 413 and room is not None and room < most:
            raise _full(room) from refused
        raise
    row, is_new = await run_in_threadpool(_add, owner, kind, out, add, blob)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/{kind}s/{row.id}"
    return row


def _room(owner: str) -> int | None:
    with reading() as session:
        return quotas.room(session, owner)


def _full(room: int) -> Problem:
    detail = (
        f"this account has room for {room:,} more bytes: delete models, data sets or jobs, or ask for a larger quota"
    )
    return Problem(413, detail, {"Connection": "close"})


def _add(owner: str, kind: str, out: type[Out], add: Add[Row], blob: Blob) -> tuple[Out, bool]:
    with writing() as session:
        room = quotas.room(session, owner) or 0
        row, is_new = add(session, blob)
        if is_new and not quotas.has_room(session, owner):  # others came in while this one was on its way
            raise _full(room)
        shown = outs(session, out, [row])[0]
    if is_new:
        sender.wake(kind, row.id)
    return shown, is_new


def outs(session: Session, out: type[Out], rows: Sequence[Model | Dataset]) -> list[Out]:
    """Rows as they are shown: with the number of jobs that use each."""
    users = uploads.users(session, rows)
    return [out.model_validate(row).model_copy(update={"jobs": users.get(row.id, 0)}) for row in rows]


def content(row: Model | Dataset, suffix: str) -> FileResponse:
    """The bytes as they came."""
    filename = row.name if row.name.endswith(suffix) else f"{row.name}{suffix}"
    return FileResponse(
        artifacts.path(row.sha256),
        media_type="application/octet-stream",
        filename=filename,
        headers={"ETag": f'"{row.sha256}"'},
    )


def require_ready(row: Model | Dataset) -> None:
    """Raises: Problem 409: it is still being examined; 422: it was rejected."""
    if row.status == "validating":
        detail = f"{row.id} is still being examined; try again when its status is ready"
        raise Problem(409, detail, {"Retry-After": RETRY_SECONDS})
    if row.status == "rejected":
        raise Problem(422, f"{row.id} was rejected: {'; '.join(row.problems)}")
