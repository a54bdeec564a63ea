"""Rows of which there is one, whoever comes first."""

from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

Row = TypeVar("Row")


def add_once(session: Session, row: Row, same: Select[Any]) -> tuple[Row, bool]:
    """The row that `same` finds, or this one, added; and whether it is new.

    On PostgreSQL two transactions may both find nothing: the loser's insert fails, and it takes the winner's row.
    Raises: IntegrityError: for another reason, such as a foreign key.
    """
    if found := session.scalar(same):
        return found, False
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        if found := session.scalar(same):
            return found, False
        raise
    return row, True
