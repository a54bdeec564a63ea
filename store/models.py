"""Models."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.artifacts import Blob
from store.tables import Model, new_id


def add(session: Session, owner: str, name: str, blob: Blob) -> tuple[Model, bool]:
    """The owner's model with this content, and whether it is new."""
    query = select(Model).where(Model.owner == owner, Model.sha256 == blob.sha256)
    if found := session.scalar(query):
        return found, False
    row = Model(id=new_id("mdl"), owner=owner, name=name, sha256=blob.sha256, bytes=blob.bytes)
    session.add(row)
    session.flush()
    return row, True
