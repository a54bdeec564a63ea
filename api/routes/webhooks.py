"""Webhooks: what became of the messages about a job's end, and the secret that they are signed with."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, computed_field

from api.auth import Owner
from api.deps import Id, Read, Write
from api.problems import PROBLEM
from api.routes.uploads import Time
from store import deliveries, jobs, webhook_secrets
from store.tables import Delivery, WebhookSecret

router = APIRouter(prefix="/v1", tags=["webhooks"])


class DeliveryOut(BaseModel):
    """A message. Its id is its `webhook-id`, the same on each try."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    type: Literal["job.succeeded", "job.failed", "job.cancelled"]
    url: str
    attempts: int = Field(description="Tries, the one under way included.")
    last_error: str | None = Field(description="Why the last try failed.")
    created_at: Time
    next_at: Time | None = Field(description="When it is tried next.")
    delivered_at: Time | None
    gave_up_at: Time | None

    @computed_field
    @property
    def status(self) -> Literal["pending", "delivered", "given_up"]:
        """pending, delivered or given_up."""
        if self.delivered_at is not None:
            return "delivered"
        return "pending" if self.gave_up_at is None else "given_up"


class DeliveryList(BaseModel):
    """All messages of a job, oldest first; one for each time it ended."""

    items: list[DeliveryOut]


class SecretOut(BaseModel):
    """The secret of Standard Webhooks; keep it as a password."""

    model_config = ConfigDict(from_attributes=True)

    secret: str = Field(examples=["whsec_..."])
    previous_until: Time | None = Field(description="Until then the one before signs every message too.")


@router.get("/jobs/{job_id}/webhooks", response_model=DeliveryList, responses={404: PROBLEM})
def listing(session: Read, owner: Owner, job_id: Id) -> DeliveryList:
    """What became of the messages about the job's end; empty until it has ended."""
    jobs.get(session, owner, job_id)
    return DeliveryList(items=[DeliveryOut.model_validate(d) for d in deliveries.of_job(session, job_id)])


@router.post("/jobs/{job_id}/webhooks/{message_id}/resend", response_model=DeliveryOut, responses={404: PROBLEM})
def resend(session: Write, owner: Owner, job_id: Id, message_id: Id) -> Delivery:
    """Try a message once more now, also one that was delivered or given up."""
    jobs.get(session, owner, job_id)
    return deliveries.resend(session, job_id, message_id)


@router.post("/webhooks/secret", response_model=SecretOut)
def secret(session: Write, owner: Owner, response: Response) -> WebhookSecret:
    """The secret that your messages are signed with, made on first use."""
    response.headers["Cache-Control"] = "no-store"
    return webhook_secrets.of(session, owner)


@router.post("/webhooks/secret/rotate", response_model=SecretOut)
def rotate(session: Write, owner: Owner, response: Response) -> WebhookSecret:
    """A new secret. For 24 hours messages carry the signature of the one before as well."""
    response.headers["Cache-Control"] = "no-store"
    return webhook_secrets.rotate(session, owner)
