"""Engines and transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session

from store.settings import settings


@cache
def engine() -> Engine:
    """This process's engine, made on first use: one carried over a fork hangs on PostgreSQL."""
    return make_engine(settings().database)


def make_engine(url: str) -> Engine:
    """An engine for SQLite or PostgreSQL with the transactions that a job queue needs."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    made = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(made, "connect", _prepare_sqlite)
    event.listen(made, "begin", _begin_sqlite)
    return made


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """The driver must not open transactions of its own: with its defaults a third of concurrent updates are lost."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock at once: one that reads first and then writes fails with `database is locked`."""
    only_reads = connection.get_execution_options().get("only_reads", False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


@contextmanager
def writing() -> Iterator[Session]:
    """One transaction, committed at the end, rolled back on any exception."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """A transaction that only reads: on SQLite it waits for nobody."""
    with Session(engine().execution_options(only_reads=True), expire_on_commit=False) as session:
        yield session
