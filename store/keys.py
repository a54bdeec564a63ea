"""API keys: an owner is an account and may have several; only a key's SHA-256 is stored, enough for 256 random bits."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.errors import Conflict, NotFound, UnfitOwner
from store.locks import alone
from store.pages import Page, page
from store.tables import Key, new_id

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each includes those before it
OWNER = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$"
DAY = 24 * 3600


@dataclass(frozen=True)
class Caller:
    """Who asks; key_id: None where no keys are asked for."""

    owner: str
    scope: Scope
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether what it has includes this."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


def create(
    session: Session, owner: str, name: str | None = None, scope: Scope = "write", days: float | None = None
) -> tuple[Key, str]:
    """A new key for this owner, and its secret, which is shown this once.

    Args: days: from now until it expires; None: never. Raises: UnfitOwner.
    """
    if not re.fullmatch(OWNER, owner):
        raise UnfitOwner
    secret = f"sct_{secrets.token_urlsafe(32)}"
    ends = None if days is None else now() + days * DAY
    key = Key(id=new_id("key"), owner=owner, name=name, scope=scope, hash=_hash(secret), expires_at=ends)
    session.add(key)
    session.flush()
    session.refresh(key)
    return key, secret


def caller(session: Session, secret: str) -> Caller | None:
    """Whose key this is; None if it is unknown, revoked or expired.

    The same work for all of them, and nothing is compared with a stored secret: there is none.
    """
    found = session.execute(
        select(Key.owner, Key.scope, Key.id).where(Key.hash == _hash(secret), _works())
    ).one_or_none()
    return Caller(found.owner, found.scope, found.id) if found else None  # type: ignore[arg-type]


def works(session: Session, key_id: str) -> bool:
    """Whether it is neither revoked nor expired."""
    return session.scalar(select(Key.id).where(Key.id == key_id, _works())) is not None


def get(session: Session, key_id: str) -> Key:
    """Raises: NotFound."""
    if key := session.get(Key, key_id):
        return key
    raise NotFound(f"there is no key {key_id}")


def listing(session: Session, owner: str | None, limit: int, cursor: str | None) -> Page[Key]:
    """All keys, or those of an owner, newest first; revoked and expired ones too."""
    query = select(Key) if owner is None else select(Key).where(Key.owner == owner)
    return page(session, query, Key.id, limit, cursor)


def revoke(session: Session, key_id: str, keeps_an_admin: bool = False) -> Key:
    """From its commit on the key opens nothing, in any process; once more changes nothing.

    Raises: NotFound; Conflict: keeps_an_admin, and it is the last admin key that works.
    """
    alone(session, "admin keys")  # else two could revoke each other
    key = get(session, key_id)
    others = select(Key.id).where(Key.scope == "admin", Key.id != key_id, _works()).limit(1)
    if keeps_an_admin and key.scope == "admin" and works(session, key_id) and session.scalar(others) is None:
        raise Conflict(
            f"{key_id} is the last admin key: make another one first, or revoke it with `secateur-admin keys revoke`"
        )
    session.execute(update(Key).where(Key.id == key_id, Key.revoked_at.is_(None)).values(revoked_at=now()))
    session.refresh(key)
    return key


def touch(session: Session, key_id: str, seconds: float) -> None:
    """It was used now; nothing is written if it was used within so many seconds."""
    stale = or_(Key.last_used_at.is_(None), Key.last_used_at < now() - seconds)
    session.execute(update(Key).where(Key.id == key_id, stale).values(last_used_at=now()))


def _works() -> ColumnElement[bool]:
    return Key.revoked_at.is_(None) & or_(Key.expires_at.is_(None), Key.expires_at > now())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
