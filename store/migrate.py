"""python -m store.migrate: bring the database to the newest schema. Safe to run from several processes at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from store.database import engine
from store.settings import settings

LOCK = 0x5EC47E  # any number of our own: PostgreSQL lets one migration run at a time


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run the migrations that this database lacks, up to this one."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def revision(connection: Connection) -> str | None:
    """The schema of this database; None: it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """All that this version knows, the newest last."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def newest() -> str:
    """Number of the last migration; numbers sort."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def main() -> None:
    """Migrate the database of the settings."""
    settings().data_dir.mkdir(parents=True, exist_ok=True)
    with engine().begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        upgrade(connection)


if __name__ == "__main__":
    main()
