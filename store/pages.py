"""Pages of rows, newest first."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, and where the next page begins; None at the end."""

    items: list[Row]
    next_cursor: str | None


def page(session: Session, query: Select[Any], id_column: Any, limit: int, cursor: str | None) -> Page[Any]:
    """The rows after the cursor: the last id of the page before."""
    query = query.order_by(id_column.desc()).limit(limit + 1)
    rows = list(session.scalars(query.where(id_column < cursor) if cursor else query))
    more = len(rows) > limit
    return Page(rows[:limit], getattr(rows[limit - 1], id_column.key) if more else None)
