"""API keys: sct_ and 43 characters; only their SHA-256 is stored, which is enough for random keys."""

import hashlib
import secrets
import sys

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.clock import now
from store.database import writing
from store.tables import Key, new_id


def create(session: Session, owner: str) -> str:
    """A new key for this owner; it is shown this once."""
    secret = f"sct_{secrets.token_urlsafe(32)}"
    session.add(Key(id=new_id("key"), owner=owner, hash=_hash(secret), created_at=now()))
    return secret


def owner_of(session: Session, secret: str) -> str | None:
    """Whose key this is; None if it is unknown."""
    return session.scalar(select(Key.owner).where(Key.hash == _hash(secret)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "create":
        sys.exit("usage: python -m store.keys create OWNER")
    with writing() as transaction:
        print(create(transaction, sys.argv[2]))
