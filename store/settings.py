"""Settings of the whole service, from SECATEUR_... variables."""

import hashlib
import ipaddress
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 2**30
LONGEST_SOCKET = 100  # the system takes 107 bytes, macOS 103


class Settings(BaseSettings):
    """Read once a process. Empty URLs mean the embedded default inside the data folder."""

    model_config = SettingsConfigDict(env_prefix="SECATEUR_", frozen=True)

    data_dir: Path = Field(default=Path(".secateur"), description="Everything that the service keeps on disk.")
    database_url: str = Field(default="", description="postgresql+psycopg://... ; empty: SQLite in the data folder.")
    broker_url: str = Field(
        default="", description="redis://... ; empty: a Valkey server in the data folder, started by `make up`."
    )
    artifacts_url: str = Field(default="", description="A folder; empty: `artifacts` in the data folder.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; other than loopback only with AUTH.")
    port: int | None = Field(
        default=None, ge=0, le=65535, description="Empty: 8000, or the next free port in `make up`."
    )
    auth: bool = Field(default=False, description="Ask for API keys (python -m store.keys create NAME).")
    max_model_bytes: int = Field(default=2_000_000_000, description="Largest model; more is refused with 413.")
    max_dataset_bytes: int = Field(default=8 * GIB, description="Largest data set file.")
    max_dataset_memory: int = Field(
        default=6 * GIB,
        description="Bytes of prepared examples that a job keeps in memory, at most half of JOB_MEMORY_BYTES; "
        "of a larger data set it prepares batch by batch.",
    )
    max_cache_bytes: int = Field(
        default=32 * GIB,
        description="Decoded data sets kept on disk, the least recently used removed; none may be larger.",
    )
    job_memory_bytes: int = Field(default=16 * GIB, ge=GIB // 4, description="Most memory of a job's process.")
    job_seconds: int = Field(default=24 * 3600, description="Longest run of one attempt of a job.")
    inspect_memory_bytes: int = Field(
        default=8 * GIB, ge=GIB // 4, description="Most memory of the process that vets an upload."
    )
    inspect_seconds: int = Field(default=900, description="Longest vetting of an upload.")
    max_attempts: int = Field(
        default=3, description="Times a job may crash its process, or lose its worker, before it fails."
    )
    lease_seconds: float = Field(default=30, gt=0, description="A worker silent for so long has lost its job.")
    grace_seconds: float = Field(
        default=60, gt=0, description="A stored file without a row is left alone for so long: its row may be coming."
    )
    sweep_seconds: float = Field(default=10, gt=0, description="Time between two looks for lost jobs and messages.")
    transfer_hours: float = Field(
        default=24, gt=0, description="An upload in pieces is kept for so long after its last byte came."
    )

    @model_validator(mode="after")
    def _nobody_else_without_keys(self) -> Self:
        if not self.auth and not _is_loopback(self.host):
            raise ValueError(
                f"SECATEUR_HOST={self.host} would let everyone in: set SECATEUR_AUTH=true and make a key "
                "with `python -m store.keys create NAME`, or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _only_what_is_built(self) -> Self:
        if "://" in self.artifacts_url and not self.artifacts_url.startswith("file://"):
            raise ValueError(f"SECATEUR_ARTIFACTS_URL={self.artifacts_url}: only folders are supported")
        if self.database_url and not self.database_url.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("SECATEUR_DATABASE_URL must begin with postgresql+psycopg:// or sqlite:///")
        return self

    def for_children(self) -> dict[str, str]:
        """Variables for a process that runs in another folder: the places, absolute."""
        places = {"DATA_DIR": self.data_dir.resolve(), "DATABASE_URL": self.database, "ARTIFACTS_URL": self.artifacts}
        return {f"SECATEUR_{name}": str(place) for name, place in places.items()}

    @property
    def database(self) -> str:
        """SQLAlchemy URL."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir.resolve() / 'secateur.db'}"
        if self.database_url.startswith("sqlite:///"):
            return f"sqlite:///{Path(self.database_url.removeprefix('sqlite:///')).resolve()}"
        return self.database_url

    @property
    def artifacts(self) -> Path:
        """Folder of the artifacts."""
        named = self.artifacts_url.removeprefix("file://")
        return (Path(named) if named else self.data_dir / "artifacts").resolve()

    @property
    def cache(self) -> Path:
        """Folder of decoded data sets; safe to remove while nothing runs."""
        return self.data_dir.resolve() / "cache"

    @property
    def broker_socket(self) -> Path:
        """Socket of the embedded broker: no port, so two services on one machine cannot meet."""
        path = self.data_dir.resolve() / "broker.sock"
        if len(str(path)) <= LONGEST_SOCKET:
            return path
        name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path(f"/tmp/secateur-{name}.sock")

    @property
    def broker(self) -> str:
        """Celery's broker URL."""
        return self.broker_url or f"redis+socket://{self.broker_socket}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
