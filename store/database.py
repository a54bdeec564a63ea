"""Engines and transactions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as AllTaken
from sqlalchemy.orm import Session

from store.settings import settings

BEFORE_COMMIT, AFTER_COMMIT = "before_commit", "after_commit"
# how it shows that the database, or the way to it, is away; InternalError: it ended a transaction that stood still
AWAY = (OperationalError, InterfaceError, InternalError, AllTaken)
# a connection that died without a word is given up, and not waited for until the system does so after hours
NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


@cache
def engine() -> Engine:
    """This process's engine, made on first use: one carried over a fork hangs on PostgreSQL."""
    return make_engine(settings().database)


def make_engine(url: str) -> Engine:
    """An engine for SQLite or PostgreSQL with the transactions that a job queue needs."""
    if not url.startswith("sqlite"):
        made = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=NETWORK)
        event.listen(made, "connect", _prepare_postgresql)
        return made
    made = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, hide_parameters=True)
    event.listen(made, "connect", _prepare_sqlite)
    event.listen(made, "begin", _begin_sqlite)
    return made


def _prepare_postgresql(connection: Any, _: Any) -> None:
    """Whoever vanishes within a transaction must not hold its rows: no sweeper could take its job back."""
    milliseconds = round(settings().lease_seconds * 1000)
    connection.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
    connection.commit()


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
    """One transaction, committed at the end, rolled back on any exception; then what was left for after_commit."""
    with Session(engine(), expire_on_commit=False) as session:
        with session.begin():
            yield session
            for action in session.info.pop(BEFORE_COMMIT, ()):
                action()
        for action in session.info.pop(AFTER_COMMIT, ()):
            action()


def before_commit(session: Session, action: Callable[[], object]) -> None:
    """Do this at the end of the transaction: what many transactions write is locked for as short as can be."""
    session.info.setdefault(BEFORE_COMMIT, []).append(action)


def after_commit(session: Session, action: Callable[[], object]) -> None:
    """Do this when the transaction is committed: a file must not go before the row that names it."""
    session.info.setdefault(AFTER_COMMIT, []).append(action)


def ping() -> None:
    """Raises: SQLAlchemyError: the database does not answer, or was not migrated."""
    with reading() as session:
        session.execute(text("SELECT 1 FROM jobs LIMIT 1"))


def is_away(error: Exception) -> bool:
    """Whether the database did not answer, or not now; the same may succeed a moment later."""
    if isinstance(error, InternalError):
        return error.connection_invalidated
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", None)
    return name in ("SQLITE_BUSY", "SQLITE_LOCKED") or (name is None and isinstance(error, AWAY))


def is_full(error: Exception) -> bool:
    """Whether the database could not write because its disk is full."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(cause, "sqlstate", "") == "53100"


@contextmanager
def reading() -> Iterator[Session]:
    """A transaction that only reads: on SQLite it waits for nobody."""
    with Session(engine().execution_options(only_reads=True), expire_on_commit=False) as session:
        yield session
