"""Whether this process can do its work: each check is quiet where it can, and says a sentence where not."""

from functools import cache

from sqlalchemy import text

from store.database import reading
from store.disk import is_full
from store.queue import sender
from store.storage import StorageAway, Unlike
from store.storage import storage as storage_


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
    try:
        storage_().check()
    except Unlike as error:
        raise NotReady("a file that was written reads otherwise") from error
    except StorageAway as error:
        raise NotReady("it does not answer") from error
    except OSError as error:
        raise NotReady("no space is left" if is_full(error) else "files cannot be written and read") from error


CHECKS = {"database": database, "broker": broker, "storage": storage}


@cache
def _newest() -> str:
    from store.migrate import newest  # a tenth of a second, which a start need not wait for

    return newest()
