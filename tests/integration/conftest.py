"""Rows on real databases: SQLite always, PostgreSQL where SECATEUR_TEST_POSTGRES names one."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from store import database, migrate
from store.settings import settings
from tests.conftest import postgres_url

NO_POSTGRES = "SECATEUR_TEST_POSTGRES names no PostgreSQL to test against"
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.skipif(not postgres_url(), reason=NO_POSTGRES))]


@pytest.fixture(params=DATABASES)
def db(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A migrated empty database, which the store's functions use in this test."""
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path))
    url = postgres_url() or ""
    schema = f"test_{uuid.uuid4().hex}"
    if request.param == "postgresql":
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        monkeypatch.setenv("SECATEUR_DATABASE_URL", f"{url}?options=-csearch_path%3D{schema}")
    settings.cache_clear()
    database.engine.cache_clear()
    migrate.main()
    yield database.engine()
    database.engine().dispose()
    if request.param == "postgresql":
        with admin.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        admin.dispose()
    settings.cache_clear()
    database.engine.cache_clear()
