"""Limits of accounts, for administrators."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.auth import admin
from api.deps import Read, Write
from api.problems import PROBLEM
from pruning.frozen import Asked
from store import quotas
from store.keys import OWNER

router = APIRouter(
    prefix="/v1/quotas", tags=["accounts"], dependencies=[Depends(admin)], responses={403: PROBLEM, 409: PROBLEM}
)
Account = Annotated[str, Path(pattern=OWNER)]
Number = Annotated[int | None, Field(ge=0, le=2**31 - 1)]


class Limits(Asked):
    """As asked for: 0 is no limit, null what the settings say."""

    max_jobs_queued: Number = Field(default=None, description="Jobs that may wait.")
    max_jobs_running: Number = Field(default=None, description="Jobs that may run at once.")
    max_bytes_stored: int | None = Field(
        default=None, ge=0, le=2**53, description="Of models, data sets and delivered files."
    )
    max_requests_a_minute: Number = Field(default=None, description="Requests in any minute.")


class QuotaOut(BaseModel):
    """Limits that hold (null: no limit), what was set for this owner, and what is used."""

    owner: str
    limits: Limits
    own: Limits
    used: dict[str, int]


@router.get("/{owner}", response_model=QuotaOut)
def get(session: Read, owner: Account) -> QuotaOut:
    """Limits of an account and what it uses of them. An owner without any key has the defaults."""
    return _out(session, owner)


@router.put("/{owner}", response_model=QuotaOut)
def put(session: Write, owner: Account, body: Limits) -> QuotaOut:
    """Set all limits of an account; what is left out is the default of the settings again."""
    quotas.put(session, owner, body.model_dump())
    session.flush()
    return _out(session, owner)


def _out(session: Session, owner: str) -> QuotaOut:
    return QuotaOut(
        owner=owner,
        limits=Limits(**asdict(quotas.of(session, owner))),
        own=Limits(**quotas.overrides(session, owner)),
        used=asdict(quotas.used(session, owner)),
    )
