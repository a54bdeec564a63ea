"""The database as one file: made while the service runs, and read into an empty database."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, create_engine, inspect, make_url, text
from sqlalchemy.orm import Session

from store.database import engine
from store.errors import Conflict, StoreError
from store.settings import settings

NAMES = {"sqlite": "secateur.db", "postgresql": "secateur.dump"}


class ToolFailed(StoreError):
    """A program of PostgreSQL failed."""


def kind() -> str:
    """Of the database of the settings: sqlite or postgresql."""
    return make_url(settings().database).get_backend_name()


@contextmanager
def write(folder: Path) -> Iterator[Session]:
    """Copy the database as it is at one moment into a file of this folder; the session reads the rows of that moment.

    A file that is there is replaced.
    """
    target = folder / NAMES[kind()]
    target.unlink(missing_ok=True)
    with (_copy_sqlite if kind() == "sqlite" else _dump_postgresql)(target) as session:
        yield session


def require_empty() -> None:
    """Raises: Conflict: the database of the settings has tables."""
    if kind() == "sqlite" and not _file().exists():
        return
    with engine().connect() as connection:
        if inspect(connection).get_table_names():
            raise Conflict("this database is not empty: restore into a new one (SECATEUR_DATABASE_URL, or _DATA_DIR)")


def read(source: Path) -> None:
    """Fill the empty database of the settings from the file that `write` made."""
    if kind() == "sqlite":
        _file().parent.mkdir(parents=True, exist_ok=True)
        beside = _file().with_suffix(".part")
        shutil.copyfile(source, beside)
        engine().dispose()
        for left in ("-wal", "-shm"):  # of an empty database that somebody looked at
            _file().with_name(_file().name + left).unlink(missing_ok=True)
        beside.rename(_file())
        return
    options = ("--no-owner", "--no-privileges", "--single-transaction", f"--schema={_schema()}")
    _run("pg_restore", *options, f"--dbname={_without_password()}", str(source))


@contextmanager
def _copy_sqlite(target: Path) -> Iterator[Session]:
    """SQLite's online backup: a moment of the source, whoever writes meanwhile."""
    with closing(engine().raw_connection()) as source, closing(sqlite3.connect(target)) as copy:
        assert source.driver_connection is not None
        source.driver_connection.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file
    plain = create_engine(f"sqlite:///{target}")
    with Session(plain) as session:
        yield session
    plain.dispose()


@contextmanager
def _dump_postgresql(target: Path) -> Iterator[Session]:
    """Ours and pg_dump's transaction see the same snapshot."""
    schema = _schema()
    with engine().connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # pg_dump may take hours
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        options = ("--format=custom", f"--snapshot={snapshot}", f"--schema={schema}", f"--file={target}")
        _run("pg_dump", *options, _without_password())
        with Session(connection) as session:
            yield session


def _file() -> Path:
    return Path(make_url(settings().database).database or "")


def _schema() -> str:
    with engine().connect() as connection:
        return connection.scalar(text("SELECT current_schema()"))


def _run(program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        raise ToolFailed(
            f"{program} is not here: install PostgreSQL's client programs, or dump the database by your own means "
            "and use --files-only (docs/operate.md)"
        )
    password = _url().password
    environment = os.environ | ({"PGPASSWORD": str(password)} if password else {})  # not where `ps` shows it
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ToolFailed(f"{program}: {done.stderr.strip() or 'it failed without a word'}")


def _without_password() -> str:
    return _url().set(drivername="postgresql", password=None).render_as_string()


def _url() -> URL:
    return make_url(settings().database)
