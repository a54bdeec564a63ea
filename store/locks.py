"""Transactions that must not run beside each other, such as those that count and then add."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

SPACE = 0x5EC  # PostgreSQL's two-number locks are apart from the one of the migrations


def alone(session: Session, name: str) -> None:
    """From here to its commit this transaction is the only one of this name. SQLite has one writer anyhow."""
    connection = session.connection()  # it begins here, where it had not: SQLite's lock is taken with the beginning
    if connection.dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(SPACE, func.hashtext(name))))
