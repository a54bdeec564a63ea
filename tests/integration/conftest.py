"""Rows on real databases: SQLite always, PostgreSQL where SECATEUR_TEST_POSTGRES names one."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import Engine

from store import database, migrate
from store.settings import settings
from tests.conftest import postgres_url, schema_of_its_own

NO_POSTGRES = "SECATEUR_TEST_POSTGRES names no PostgreSQL to test against"
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.skipif(not postgres_url(), reason=NO_POSTGRES))]


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database without tables, which the store's functions use in this test."""
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    with schema_of_its_own() if request.param == "postgresql" else nullcontext("") as url:
        monkeypatch.setenv("SECATEUR_DATABASE_URL", url)
        forget()
        yield database.engine()
        database.engine().dispose()
    forget()


@pytest.fixture
def db(empty: Engine) -> Engine:
    """A migrated empty database, which the store's functions use in this test."""
    migrate.main()
    return empty


def forget() -> None:
    """Settings and engine are made anew from the environment."""
    if database.engine.cache_info().currsize:
        database.engine().dispose()
    settings.cache_clear()
    database.engine.cache_clear()
