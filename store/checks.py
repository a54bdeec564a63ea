"""Whether this process can do its work: each check is quiet where it can, and says a sentence where not."""

import tempfile
from functools import cache

from sqlalchemy import text

from store.database import reading
from store.disk import is_full
from store.queue import sender
from store.settings import settings

PIECE = b"secateur"


class NotReady(Exception):
    """What is needed is not there; the message is for everybody to read."""


def database() -> None:
    """It answers, and has the newest schema, or one newer than this process: then it is about to be replaced."""
    with reading() as session:
        found = session.scalar(text("SELECT version_num FROM alembic_version"))
    if found is None or found < _newest():
        raise NotReady(f"its schema is {found}, this version needs {_newest()}: run python -m store.migrate")


def broker() -> None:
    """It takes a connection."""
    sender.ping()


def storage() -> None:
    """A small file can be written and read."""
    root = settings().artifacts
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="incoming-", dir=root) as file:  # collected, should this be killed
            file.write(PIECE)
            file.flush()
            file.seek(0)
            if file.read() != PIECE:
                raise NotReady("a file that was written reads otherwise")
    except OSError as error:
        raise NotReady("no space is left" if is_full(error) else "files cannot be written and read") from error


CHECKS = {"database": database, "broker": broker, "storage": storage}


@cache
def _newest() -> str:
    from store.migrate import newest  # a tenth of a second, which a start need not wait for

    return newest()
