"""Jobs."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.orm import Session

from api.auth import Asking, Owner
from api.deps import Cursor, Id, Limit, Read, Write
from api.problems import PRINTABLE, PROBLEM, Problem
from api.routes.plans import hold
from api.routes.uploads import PLACE, Time
from pruning.frozen import Asked
from pruning.needs import memory
from pruning.phases import PHASES
from pruning.plan import Plan
from pruning.result import Result
from pruning.settings import ID
from store import addresses, job_lists, jobs, quotas
from store.database import reading, writing
from store.queue import queue_for, sender
from store.settings import settings
from store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses={404: PROBLEM})
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
Label = Annotated[str, Field(pattern=r"^[\w.:/-]{1,63}$")]


class JobIn(Asked):
    """What to prune, with what, and how; a plan needs a budget and nothing else."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str = Field(pattern=ID, examples=["mdl_0199c5f1a2b3c4d5e6f7a8b9"])
    dataset_id: str = Field(pattern=ID, examples=["dat_0199c5f1a2b3c4d5e6f7a8b9"])
    plan: Plan = Field(examples=[{"budget": {"pruning_rate": 20}}])
    name: str | None = Field(default=None, max_length=255, pattern=PRINTABLE, examples=["LeNet-5 at 20x"])
    labels: tuple[Label, ...] = Field(default=(), max_length=20, examples=[["trial"]])
    priority: int = Field(
        default=0,
        ge=-10,
        le=10,
        description="Higher goes first, before all jobs of everybody with a lower one.",
        examples=[0],
    )
    webhook_url: str | None = Field(
        default=None,
        description="Told of the job's end by a signed POST (Standard Webhooks): https, and a public host.",
        examples=["https://hooks.example.com/secateur"],
    )

    @field_validator("webhook_url")
    @classmethod
    def _may_be_called(cls, value: str | None) -> str | None:
        return None if value is None else addresses.checked(value, settings().webhook_hosts)


class JobOut(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    id: str
    name: str | None
    labels: list[str]
    model_id: str
    model_name: str = ""
    dataset_id: str
    dataset_name: str = ""
    plan: dict[str, Any]
    status: Status
    phase: str | None = Field(description=f"{', '.join(PHASES)}.")
    progress: float = Field(description="0 to 1.")
    round: int | None
    eta_seconds: float | None
    attempt: int = Field(description="How often a worker has begun or taken over.")
    queue: str = Field(description="Of the workers that can run it: cpu, gpu, cpu-large or gpu-large.")
    priority: int
    queue_position: int | None = Field(default=None, description="1 is next; null beyond the first thousand.")
    goal_met: bool | None
    error: str | None = Field(description="Why it failed.")
    webhook_url: str | None = Field(description="Told of the job's end; what became of it is at /webhooks.")
    result: Result | None = Field(description="Numbers of the report; null until it has succeeded.")
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    expires_at: Time | None = Field(default=None, description="When it is removed with its files; null: never.")

    @field_validator("labels", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    items: list[JobOut]
    next_cursor: str | None


@router.post(
    "",
    status_code=201,
    response_model=JobOut,
    responses={
        200: {"description": "The job of this Idempotency-Key", "model": JobOut, "headers": PLACE},
        201: {"headers": PLACE},
        409: PROBLEM,
    },
)
def create(
    body: JobIn,
    response: Response,
    asking: Asking,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> JobOut:
    """Queue a job. The plan is held against the model's analysis now, not an hour later."""
    owner = asking.owner
    if body.priority > 0 and settings().auth and not asking.may("admin"):
        raise Problem(403, "a priority above 0, before all jobs of others, needs a key with the scope admin")
    with reading() as session:
        needs = memory(hold(session, owner, body.plan, body.model_id, body.dataset_id))
    request = _request(body, idempotency_key, queue_for(body.plan.train.device, needs))
    with writing() as session:
        job, is_new = jobs.create(session, owner, request)
        if is_new:
            quotas.require_place(session, owner)
        result = _out(session, job)
    if is_new:
        sender.wake("job", job.id, job.queue)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return result


@router.get("", response_model=JobPage)
def listing(
    session: Read,
    owner: Owner,
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Status | None = None,
    model_id: Annotated[str | None, Query(pattern=ID)] = None,
    dataset_id: Annotated[str | None, Query(pattern=ID)] = None,
    label: Label | None = None,
    q: Annotated[
        str | None,
        Query(max_length=255, pattern=PRINTABLE, description="Part of a name, an id or a label, also of the files."),
    ] = None,
) -> JobPage:
    """Your jobs, newest first."""
    only = job_lists.Filter(status, model_id, dataset_id, label, q)
    page = job_lists.listing(session, owner, limit, cursor, only)
    return JobPage(items=_outs(session, page.items), next_cursor=page.next_cursor)


@router.get("/{job_id}", response_model=JobOut)
def get(session: Read, owner: Owner, job_id: Id) -> JobOut:
    """One job."""
    return _out(session, jobs.get(session, owner, job_id))


@router.post("/{job_id}/cancel", response_model=JobOut, responses={409: PROBLEM})
def cancel(owner: Owner, job_id: Id) -> JobOut:
    """End a job. A running one is `cancelling` until its process is gone, within seconds."""
    with writing() as session:
        return _out(session, jobs.cancel(session, owner, job_id))


@router.delete("/{job_id}", status_code=204, responses={409: PROBLEM})
def delete(session: Write, owner: Owner, job_id: Id) -> None:
    """Remove a job that has ended, with all its files."""
    jobs.remove(session, owner, job_id)


@router.post("/{job_id}/retry", response_model=JobOut, responses={409: PROBLEM, 429: PROBLEM})
def retry(owner: Owner, job_id: Id) -> JobOut:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    with writing() as session:
        job = jobs.retry(session, owner, job_id)
        quotas.require_place(session, owner)
        result = _out(session, job)
    sender.wake("job", job_id, result.queue)
    return result


def _request(body: JobIn, key: str | None, queue: str) -> jobs.Request:
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return jobs.Request(
        body.model_id,
        body.dataset_id,
        body.plan.model_dump(mode="json", exclude_none=True),
        body.name,
        list(body.labels),
        key,
        hashlib.sha256(canonical.encode()).hexdigest(),
        queue,
        body.priority,
        body.webhook_url,
    )


def _outs(session: Session, rows: Sequence[Job]) -> list[JobOut]:
    return [_shown(row) for row in job_lists.shown(session, rows)]


def _shown(row: job_lists.Shown) -> JobOut:
    beside: dict[str, Any] = {name: getattr(row, name) for name in ("model_name", "dataset_name", "queue_position")}
    beside["expires_at"] = None if row.expires_at is None else datetime.fromtimestamp(row.expires_at, UTC)
    return JobOut.model_validate(row.job).model_copy(update=beside)


def _out(session: Session, job: Job) -> JobOut:
    return _outs(session, [job])[0]
