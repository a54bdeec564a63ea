"""Events of a job: pages, or a stream; and its metrics."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Asking, Owner
from api.deps import Id, Limit, Read
from api.problems import PROBLEM
from api.routes.uploads import Time
from api.watching import lookout
from store import events, jobs, keys
from store.database import reading
from store.errors import NotFound
from store.keys import Caller

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], responses={404: PROBLEM})
KEEP_ALIVE_SECONDS = 15
BATCH = 200
LAST = 2**31 - 1  # that the database counts to


class EventOut(BaseModel):
    """Something that happened; seq counts from 1 without gaps."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    at: Time
    kind: str
    data: dict[str, Any]


class EventPage(BaseModel):
    """Events, oldest first; go on with ?after=next_cursor."""

    items: list[EventOut]
    next_cursor: int | None


class MetricsOut(BaseModel):
    """Series of equal length, but for layers; null where a round has no such number. step 0 is the dense net.

    metric: what accuracy is, such as top1, mse or agreement.
    """

    metric: list[str]

    step: list[int]
    phase: list[str]
    round: list[int]
    loss: list[float | None]
    accuracy: list[float | None]
    accuracy_pruned: list[float | None]
    primal: list[float | None]
    dual: list[float | None]
    rho: list[float | None]
    pruning_rate: list[float | None]
    layers: dict[str, float] = Field(description="Share of each layer's weights near zero, after the last round.")


@router.get(
    "/events",
    response_model=EventPage,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def listing(
    request: Request,
    asking: Asking,
    job_id: Id,
    after: Annotated[int, Query(ge=0, le=LAST)] = 0,
    limit: Limit = 100,
    last_event_id: Annotated[int | None, Header(ge=0, le=LAST)] = None,
) -> Response:
    """A page; or, with `Accept: text/event-stream`, all events as they happen until the job has ended."""
    with reading() as session:
        jobs.get(session, asking.owner, job_id)
        if "text/event-stream" in request.headers.get("accept", ""):
            stream = _stream(asking, job_id, after if last_event_id is None else last_event_id)
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
        found = events.after(session, job_id, after, limit + 1)
        items = [EventOut.model_validate(e) for e in found[:limit]]
    page = EventPage(items=items, next_cursor=items[-1].seq if len(found) > limit else None)
    return JSONResponse(page.model_dump(mode="json"))


@router.get("/metrics", response_model=MetricsOut)
def metrics(session: Read, owner: Owner, job_id: Id) -> MetricsOut:
    """One entry for each round."""
    job = jobs.get(session, owner, job_id)
    rows = events.metrics(session, job_id)
    named = ("loss", "accuracy", "accuracy_pruned", "primal", "dual", "rho", "pruning_rate")
    series = {name: [row.values.get(name) for row in rows] for name in named}
    return MetricsOut(
        metric=[str(row.values.get("metric", "top1")) for row in rows],
        step=[r.step for r in rows],
        phase=[r.phase for r in rows],
        round=[r.round for r in rows],
        layers=job.layers or {},
        **series,
    )


async def _stream(asking: Caller, job_id: str, seq: int) -> AsyncIterator[bytes]:
    while True:
        found, has_ended = await run_in_threadpool(_next, asking, job_id, seq)
        for event in found:
            seq = event.seq
            yield format_sse_event(data_str=event.model_dump_json(), event=event.kind, id=str(event.seq))
        if has_ended and len(found) < BATCH:
            return
        if len(found) < BATCH and not await lookout.news(job_id, seq, KEEP_ALIVE_SECONDS):
            yield format_sse_event(comment="still there")


def _next(asking: Caller, job_id: str, seq: int) -> tuple[list[EventOut], bool]:
    """The status is read first: events that come between the two reads are sent with the next look.

    A stream may last for hours: it ends with the key that it was asked for with.
    """
    with reading() as session:
        if asking.key_id is not None and not keys.works(session, asking.key_id):
            return [], True
        try:
            has_ended = jobs.get(session, asking.owner, job_id).status in jobs.ENDED
        except NotFound:  # it was deleted while somebody watched
            return [], True
        return [EventOut.model_validate(e) for e in events.after(session, job_id, seq, BATCH)], has_ended
