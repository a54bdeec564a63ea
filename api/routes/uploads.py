"""What the routes of models and data sets have in common."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi.responses import FileResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.problems import Problem
from store import artifacts
from store.tables import Dataset, Model

Time = Annotated[datetime, BeforeValidator(lambda v: datetime.fromtimestamp(v, UTC) if isinstance(v, float) else v)]
RETRY_SECONDS = "1"


class UploadOut(BaseModel):
    """An upload. It is examined after the response: `status` becomes `ready` or `rejected` within seconds."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    sha256: str
    bytes: int
    status: Literal["validating", "ready", "rejected"]
    problems: list[str] = Field(description="Why it was rejected.")
    created_at: Time


def content(row: Model | Dataset, suffix: str) -> FileResponse:
    """The bytes as they came."""
    filename = row.name if row.name.endswith(suffix) else f"{row.name}{suffix}"
    return FileResponse(
        artifacts.path(row.sha256),
        media_type="application/octet-stream",
        filename=filename,
        headers={"ETag": f'"{row.sha256}"'},
    )


def require_ready(row: Model | Dataset) -> None:
    """Raises: Problem 409: it is still being examined; 422: it was rejected."""
    if row.status == "validating":
        detail = f"{row.id} is still being examined; try again when its status is ready"
        raise Problem(409, detail, {"Retry-After": RETRY_SECONDS})
    if row.status == "rejected":
        raise Problem(422, f"{row.id} was rejected: {'; '.join(row.problems)}")
