"""Data sets."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import uploads
from store.artifacts import Blob
from store.tables import Dataset, new_id


def add(
    session: Session, owner: str, name: str, blob: Blob, format: str, preprocess: Mapping[str, Any]
) -> tuple[Dataset, bool]:
    """The owner's data set with this content, format and preprocessing, and whether it is new."""
    reading = hashlib.sha256(json.dumps([format, preprocess], sort_keys=True).encode()).hexdigest()
    same = select(Dataset).where(Dataset.owner == owner, Dataset.sha256 == blob.sha256, Dataset.reading == reading)
    row = Dataset(
        id=new_id("dat"),
        owner=owner,
        name=name,
        sha256=blob.sha256,
        bytes=blob.bytes,
        format=format,
        preprocess=dict(preprocess),
        reading=reading,
    )
    return uploads.add(session, row, same)
