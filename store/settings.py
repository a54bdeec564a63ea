"""Settings of the whole service, from SECATEUR_... variables."""

import hashlib
import ipaddress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GIB = 2**30
LONGEST_SOCKET = 100  # the system takes 107 bytes, macOS 103


class Settings(BaseSettings):
    """Read once a process. Empty URLs mean the embedded default inside the data folder."""

    model_config = SettingsConfigDict(env_prefix="SECATEUR_", frozen=True, hide_input_in_errors=True)

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
    auth: bool = Field(default=False, description="Ask for API keys (secateur-admin keys create NAME).")
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
    job_memory_bytes: int = Field(
        default=16 * GIB, ge=GIB // 4, description="Most memory of a job's processes together."
    )
    job_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes of a worker that share each batch of its job: one for each of its GPUs (no more are "
        "started than there are), or some of its cores. Needs Linux's user namespaces; docs/deploy.md says more.",
    )
    job_seconds: int = Field(default=24 * 3600, description="Longest run of one attempt of a job.")
    inspect_memory_bytes: int = Field(
        default=8 * GIB, ge=GIB // 4, description="Most memory of the process that vets an upload."
    )
    inspect_seconds: int = Field(default=900, description="Longest vetting of an upload.")
    max_attempts: int = Field(
        default=3, description="Times a job may crash its process, or lose its worker, before it fails."
    )
    lease_seconds: float = Field(default=30, gt=0, description="A worker silent for so long has lost its job.")
    auto_queue: Literal["cpu", "gpu"] = Field(
        default="cpu", description="Where jobs wait whose plan leaves the device to us (train.device: auto)."
    )
    large_job_bytes: int = Field(
        default=2**63, description="Jobs that may need more memory wait in cpu-large and gpu-large."
    )
    grace_seconds: float = Field(
        default=60, gt=0, description="A stored file without a row is left alone for so long: its row may be coming."
    )
    handover_seconds: float = Field(
        default=20, ge=0, description="A worker that is stopped waits so long for its job's next checkpoint."
    )
    sweep_seconds: float = Field(default=10, gt=0, description="Time between two looks for lost jobs and messages.")
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Receivers of your own that are called although they are not public, with commas between: names "
        "(hooks.internal, whatever they resolve to) and addresses or networks (10.1.0.0/16). http:// and any port are "
        "for these alone. Whoever may post a job can reach them: name no more than is needed.",
    )
    stall_seconds: float = Field(
        default=120, gt=0, description="A worker that takes nothing for so long, while its queue is full, starts anew."
    )
    expire_days: float = Field(
        default=0, ge=0, description="Ended jobs, and files that nothing uses, go after so many days; 0: never."
    )

    # limits of an account, with AUTH; 0: none. `secateur-admin quotas` and /v1/quotas give an owner others
    max_jobs_queued: int = Field(default=100, ge=0, description="Jobs of one account that may wait.")
    max_jobs_running: int = Field(default=0, ge=0, description="Jobs of one account that may run at once.")
    max_bytes_stored: int = Field(
        default=200 * GIB, ge=0, description="Bytes of the models, data sets and delivered files of one account."
    )
    max_requests_a_minute: int = Field(default=1200, ge=0, description="Requests of one account.")
    max_wrong_keys_a_minute: int = Field(
        default=30, ge=0, description="Requests with unknown, revoked or expired keys from one address."
    )

    log_format: Literal["text", "json"] = Field(default="text", description="Of all logs; json: one object a line.")
    metrics_token: str = Field(
        default="", repr=False, description="What Prometheus sends as a bearer token; with AUTH /metrics needs one."
    )
    otlp_endpoint: str = Field(
        default="", description="Base URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318; empty: no traces."
    )
    transfer_hours: float = Field(
        default=24, gt=0, description="An upload in pieces is kept for so long after its last byte came."
    )

    @model_validator(mode="after")
    def _nobody_else_without_keys(self) -> Self:
        if not self.auth and not _is_loopback(self.host):
            raise ValueError(
                f"SECATEUR_HOST={self.host} would let everyone in: set SECATEUR_AUTH=true and make a key "
                "with `secateur-admin keys create NAME`, or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _only_what_is_built(self) -> Self:
        if "://" in self.artifacts_url and not self.artifacts_url.startswith("file://"):
            raise ValueError(f"SECATEUR_ARTIFACTS_URL={self.artifacts_url}: only folders are supported")
        if self.database_url and not self.database_url.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("SECATEUR_DATABASE_URL must begin with postgresql+psycopg:// or sqlite:///")
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise ValueError("SECATEUR_OTLP_ENDPOINT must begin with http:// or https://")
        return self

    @field_validator("webhook_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.lower().split(",")))) if isinstance(value, str) else value

    @field_validator("webhook_hosts")
    @classmethod
    def _names_or_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if "/" in host:
                ipaddress.ip_network(host)  # its error says which host, and why
        return value

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

    def cache_of(self, owner: str) -> Path:
        """The part of it that an owner's processes write: what breaks out of one meets no other's data."""
        return self.cache / hashlib.sha256(owner.encode()).hexdigest()[:16]

    @property
    def scratch(self) -> Path:
        """Folder of the private folders of running processes."""
        return self.data_dir.resolve() / "work"

    @property
    def broker_socket(self) -> Path:
        """Socket of the embedded broker: no port, so two services on one machine cannot meet."""
        path = self.data_dir.resolve() / "broker.sock"
        if len(str(path)) <= LONGEST_SOCKET:
            return path
        name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path("/tmp") / f"secateur-{name}.sock"  # nosec B108  # messages carry ids, which open nothing

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
