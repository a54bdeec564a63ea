"""Models."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import uploads
from store.artifacts import Blob
from store.tables import Model, new_id


def add(session: Session, owner: str, name: str, blob: Blob) -> tuple[Model, bool]:
    """The owner's model with this content, and whether it is new."""
    same = select(Model).where(Model.owner == owner, Model.sha256 == blob.sha256)
    row = Model(id=new_id("mdl"), owner=owner, name=name, sha256=blob.sha256, bytes=blob.bytes)
    return uploads.add(session, row, same)
