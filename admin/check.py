"""secateur-admin version and check: what is reachable, a sentence each."""

import shutil
from collections.abc import Callable
from importlib.metadata import version as version_of

import typer
from kombu.exceptions import OperationalError as BrokerAway
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from admin.printed import Json, document, sentence, size
from store import database, migrate, stuck, workers
from store.database import reading
from store.errors import StoreError
from store.queue import LIGHT, sender
from store.settings import settings
from store.storage import storage

app = typer.Typer()
LEAST_DISK = 10**9  # bytes; a large upload needs more


class Wrong(StoreError):
    """What was looked at is not as it should be."""


@app.command()
def version(json: Json = False) -> None:
    """The version of the service, and the newest schema that it knows."""
    found = {"version": version_of("secateur-service"), "schema": migrate.revisions()[-1]}
    document(found) if json else typer.echo(f"Secateur {found['version']}, schema {found['schema']}")


@app.command()
def check(json: Json = False) -> None:
    """Whether database, schema, broker, storage and workers are there; 1 where one is not."""
    results = [{"name": name, **_look(look)} for name, look in LOOKS.items()]
    if json:
        document(results)
    else:
        for result in results:
            typer.echo(f"{'ok' if result['ok'] else 'wrong':<7}{result['name']}: {result['text']}")
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def _look(look: Callable[[], str]) -> dict[str, object]:
    try:
        return {"ok": True, "text": look()}
    except (StoreError, DBAPIError, BrokerAway, ValidationError, OSError) as error:
        return {"ok": False, "text": sentence(error)}


def _database() -> str:
    with database.engine().connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        return f"{connection.dialect.name} answers"


def _schema() -> str:
    newest = migrate.revisions()[-1]
    with database.engine().connect() as connection:
        found = migrate.revision(connection)
    if found == newest:
        return f"{found} is the newest"
    if found in migrate.revisions() or found is None:
        raise Wrong(f"it is {found or 'not there'} and should be {newest}: run `python -m store.migrate`")
    raise Wrong(f"{found} is of a newer version than this one, which knows {newest}: install that version")


def _broker() -> str:
    sender.ping()
    return "it answers"


def _storage() -> str:
    """A file can be written where the artifacts are."""
    storage().check()
    free = shutil.disk_usage(settings().data_dir).free
    if free < LEAST_DISK:
        raise Wrong(f"only {size(free)} are free: make room, or set SECATEUR_EXPIRE_DAYS")
    return f"it can be written to, {size(free)} are free"


def _workers() -> str:
    with reading() as session:
        seen = workers.listing(session)
        full = {line.queue for line in stuck.waiting(session) if line.rows}
    for queue in sorted({settings().auto_queue, LIGHT, *full}):
        if not any(worker.takes(queue) for worker in seen):
            raise Wrong(": ".join(stuck.why_nobody(queue, seen) or ()))
    return f"{sum(not worker.is_silent for worker in seen)} are there, for jobs and for uploads"


LOOKS = {"database": _database, "schema": _schema, "broker": _broker, "storage": _storage, "workers": _workers}
