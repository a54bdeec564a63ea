"""What messages to webhooks are signed with: whsec_ and 32 random bytes in base64, one for each owner."""

import base64
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.clock import now
from store.tables import WebhookSecret
from store.unique import add_once

BYTES = 32
OVERLAP_SECONDS = 24 * 3600  # in which receivers take up a new one


def of(session: Session, owner: str) -> WebhookSecret:
    """The owner's, made on first use."""
    mine = select(WebhookSecret).where(WebhookSecret.owner == owner)
    return add_once(session, WebhookSecret(owner=owner, secret=_new()), mine)[0]


def rotate(session: Session, owner: str) -> WebhookSecret:
    """A new one; the one before signs too for OVERLAP_SECONDS, and what came before that no more."""
    row = of(session, owner)
    row.previous, row.secret = row.secret, _new()
    row.previous_until = session.scalar(select(now() + OVERLAP_SECONDS))
    session.flush()
    return row


def signing(session: Session, owner: str) -> list[str]:
    """All that sign now, the newest first."""
    row = of(session, owner)
    at = session.scalar(select(now())) or 0.0
    return [row.secret, row.previous] if row.previous and (row.previous_until or 0.0) > at else [row.secret]


def _new() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(BYTES)).decode()}"
