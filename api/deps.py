"""What routes are given."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Path, Query
from sqlalchemy.orm import Session

from pruning.settings import ID
from store.database import reading, writing


def _read() -> Iterator[Session]:
    with reading() as session:
        yield session


def _write() -> Iterator[Session]:
    with writing() as session:
        yield session


# scope="function": committed before the response is sent, else a client could read what is not yet there
Read = Annotated[Session, Depends(_read, scope="function")]
Write = Annotated[Session, Depends(_write, scope="function")]
Limit = Annotated[int, Query(ge=1, le=200, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(pattern=ID, description="next_cursor of the page before.")]
Id = Annotated[str, Path(pattern=ID)]
