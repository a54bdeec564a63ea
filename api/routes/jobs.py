"""Jobs."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.orm import Session

from api.auth import Owner
from api.deps import Cursor, Limit, Read, Write
from api.problems import PRINTABLE, PROBLEM
from api.routes.plans import hold
from api.routes.uploads import Time
from pruning.phases import PHASES
from pruning.plan import Plan
from pruning.result import Result
from store import job_lists, jobs, quotas
from store.database import reading, writing
from store.queue import sender
from store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses={404: PROBLEM})
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
Label = Annotated[str, Field(pattern=r"^[\w.:/-]{1,63}$")]


class JobIn(BaseModel):
    """What to prune, with what, and how; a plan needs a budget and nothing else."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_id: str = Field(examples=["mdl_0199c5f1a2b3c4d5e6f7a8b9"])
    dataset_id: str = Field(examples=["dat_0199c5f1a2b3c4d5e6f7a8b9"])
    plan: Plan = Field(examples=[{"budget": {"pruning_rate": 20}}])
    name: str | None = Field(default=None, max_length=255, pattern=PRINTABLE, examples=["LeNet-5 at 20x"])
    labels: list[Label] = Field(default=[], max_length=20, examples=[["trial"]])


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
    queue_position: int | None = Field(default=None, description="1 is next.")
    goal_met: bool | None
    error: str | None = Field(description="Why it failed.")
    result: Result | None = Field(description="Numbers of the report; null until it has succeeded.")
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

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
        200: {"description": "The job of this Idempotency-Key", "model": JobOut},
        409: PROBLEM,
        422: PROBLEM,
        429: PROBLEM,
    },
)
def create(
    body: JobIn, response: Response, owner: Owner, idempotency_key: Annotated[str | None, Header(max_length=255)] = None
) -> JobOut:
    """Queue a job. The plan is held against the model's analysis now, not an hour later."""
    request = _request(body, idempotency_key)
    with reading() as session:
        hold(session, owner, body.plan, body.model_id, body.dataset_id)
    with writing() as session:
        job, is_new = jobs.create(session, owner, request)
        if is_new:
            quotas.require_place(session, owner)
        result = _out(session, job)
    if is_new:
        sender.wake("job", job.id)
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
    model_id: str | None = None,
    dataset_id: str | None = None,
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
def get(session: Read, owner: Owner, job_id: str) -> JobOut:
    """One job."""
    return _out(session, jobs.get(session, owner, job_id))


@router.post("/{job_id}/cancel", response_model=JobOut, responses={409: PROBLEM})
def cancel(owner: Owner, job_id: str) -> JobOut:
    """End a job. A running one is `cancelling` until its process is gone, within seconds."""
    with writing() as session:
        return _out(session, jobs.cancel(session, owner, job_id))


@router.delete("/{job_id}", status_code=204, responses={409: PROBLEM})
def delete(session: Write, owner: Owner, job_id: str) -> None:
    """Remove a job that has ended, with all its files."""
    jobs.remove(session, owner, job_id)


@router.post("/{job_id}/retry", response_model=JobOut, responses={409: PROBLEM, 429: PROBLEM})
def retry(owner: Owner, job_id: str) -> JobOut:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    with writing() as session:
        job = jobs.retry(session, owner, job_id)
        quotas.require_place(session, owner)
        result = _out(session, job)
    sender.wake("job", job_id)
    return result


def _request(body: JobIn, key: str | None) -> jobs.Request:
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return jobs.Request(
        body.model_id,
        body.dataset_id,
        body.plan.model_dump(mode="json", exclude_none=True),
        body.name,
        body.labels,
        key,
        hashlib.sha256(canonical.encode()).hexdigest(),
    )


def _outs(session: Session, rows: Sequence[Job]) -> list[JobOut]:
    named = ("model_name", "dataset_name", "queue_position")
    return [
        JobOut.model_validate(shown.job).model_copy(update={name: getattr(shown, name) for name in named})
        for shown in job_lists.shown(session, rows)
    ]


def _out(session: Session, job: Job) -> JobOut:
    return _outs(session, [job])[0]
