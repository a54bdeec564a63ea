"""Uploads in pieces: begun, taken by one request at a time, finished, forgotten.

Who writes holds the lock of the part file (store/parts.py), and its turn is the row's holder. A newer request asks by
raising the turn; a holder whose connection hangs sees it, saves what it has and lets go.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store import parts
from store.clock import now
from store.database import after_commit, writing
from store.errors import Conflict, Gone, NotFound
from store.settings import settings
from store.storage import quietly
from store.tables import Transfer, new_id


def add(
    session: Session, owner: str, kind: str, parameters: Mapping[str, Any], length: int, described: str | None
) -> Transfer:
    """A new one, of which nothing has come. Args: described: Upload-Metadata as it was sent."""
    row = Transfer(
        id=new_id("trf"),
        owner=owner,
        kind=kind,
        parameters=dict(parameters),
        described=described,
        length=length,
        expires_at=_later(),
    )
    session.add(row)
    session.flush()
    session.refresh(row)  # its times are the database's
    return row


def get(session: Session, owner: str, id: str) -> Transfer:
    """Raises: NotFound: no such transfer of this owner. Gone: it has expired."""
    query = select(Transfer, Transfer.expires_at < now()).where(Transfer.id == id, Transfer.owner == owner)
    found = session.execute(query.execution_options(populate_existing=True)).first()
    if found is None:
        raise NotFound(f"there is no transfer {id}")
    row, is_over = found
    if is_over:
        raise Gone(f"{id} has expired; begin the upload anew")
    return row


def ask(session: Session, owner: str, id: str, offset: int) -> Transfer:
    """The transfer with a new turn, for a request that would go on at `offset`; of a finished one, as it is.

    Raises: NotFound, Gone. Conflict: another offset is due.
    """
    row = get(session, owner, id)
    if row.upload_id is not None and row.offset == offset:
        return row
    query = update(Transfer).where(Transfer.id == id, Transfer.offset == offset, Transfer.upload_id.is_(None))
    asked = session.scalar(query.values(turn=Transfer.turn + 1).returning(Transfer))
    if asked is None:
        raise elsewhere(_must(session, id))
    return asked


def hold(session: Session, id: str, turn: int, offset: int, found: int) -> Transfer:
    """Make this turn the holder; call with the part file locked. Args: found: the file's length.

    A file shorter than the row says has lost its end, with the machine's power: the row's offset is taken back to it.
    Raises: NotFound. Conflict: a newer request asks, or the holder before saved more than this one knew of.
    """
    query = update(Transfer).where(Transfer.id == id, Transfer.turn == turn, Transfer.offset == offset)
    values = {"holder": turn, "offset": min(offset, found), "expires_at": _later()}
    row = session.scalar(query.where(Transfer.upload_id.is_(None)).values(values).returning(Transfer))
    if row is None:
        raise elsewhere(_must(session, id))
    return row


def is_asked(session: Session, id: str, turn: int) -> bool:
    """Whether the holder of this turn must let go: a newer request asks, or the transfer is gone."""
    return session.scalar(select(Transfer.id).where(Transfer.id == id, Transfer.turn == turn)) is None


def save(session: Session, id: str, turn: int, offset: int) -> Transfer:
    """What came until here is safe. Raises: NotFound. Conflict: another request holds the transfer."""
    return _as_holder(session, id, turn, offset)


def finish(session: Session, id: str, turn: int) -> Transfer:
    """All of it is there; call first in the transaction that adds the upload, and set upload_id and is_new on the row.

    Raises: NotFound. Conflict: another request holds the transfer.
    """
    return _as_holder(session, id, turn, Transfer.length)


def end(session: Session, owner: str, id: str) -> None:
    """Forget a transfer and what came of it; what was made of a finished one stays. Raises: NotFound, Gone."""
    session.delete(get(session, owner, id))
    after_commit(session, partial(quietly, partial(parts.remove, id)))


def collect() -> None:
    """Forget what has expired, and remove part files that no row speaks of any more."""
    found = parts.ids()
    with writing() as session:
        session.execute(delete(Transfer).where(Transfer.expires_at < now()))
        unfinished = set(session.scalars(select(Transfer.id).where(Transfer.upload_id.is_(None))))
    for id in found - unfinished:
        parts.remove(id)


def _as_holder(session: Session, id: str, turn: int, offset: Any) -> Transfer:
    query = update(Transfer).where(Transfer.id == id, Transfer.holder == turn, Transfer.upload_id.is_(None))
    row = session.scalar(query.values(offset=offset, expires_at=_later()).returning(Transfer))
    if row is None:
        raise elsewhere(_must(session, id))
    return row


def _later() -> Any:
    return now() + settings().transfer_hours * 3600


def _must(session: Session, id: str) -> Transfer:
    row = session.get(Transfer, id, populate_existing=True)
    if row is None:
        raise NotFound(f"there is no transfer {id} any more")
    return row


def elsewhere(row: Transfer) -> Conflict:
    """What a request is told that would go on where the transfer does not."""
    if row.upload_id is not None:
        return Conflict(f"{row.id} is finished: it became {row.upload_id}")
    return Conflict(
        f"{row.id} goes on at offset {row.offset}; ask for its offset with HEAD and send the rest from there"
    )
