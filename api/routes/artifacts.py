"""What a job delivered: files, and the report among them."""

from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, computed_field

from api import files
from api.auth import Owner
from api.deps import Id, Read
from api.problems import PRINTABLE, PROBLEM
from pruning.report import Report
from store import jobs

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], responses={404: PROBLEM})
TYPES = {".json": "application/json", ".html": "text/html", ".onnx": "application/octet-stream"}


class ArtifactOut(BaseModel):
    """A file; its ETag is its sha256."""

    model_config = ConfigDict(from_attributes=True)

    job_id: str
    name: str
    sha256: str
    bytes: int

    @computed_field
    @property
    def url(self) -> str:
        """Where to get it."""
        return f"/v1/jobs/{self.job_id}/artifacts/{self.name}"


class ArtifactList(BaseModel):
    """All files of a job."""

    items: list[ArtifactOut]


@router.get("/artifacts", response_model=ArtifactList)
def listing(session: Read, owner: Owner, job_id: Id) -> ArtifactList:
    """The files; empty until the job has succeeded."""
    job = jobs.get(session, owner, job_id)
    return ArtifactList(items=[ArtifactOut.model_validate(f) for f in jobs.files(session, job.id)])


@router.get(
    "/artifacts/{name}",
    response_class=FileResponse,
    responses=files.responses(files.BYTES, "application/json", "text/html"),
)
def download(
    session: Read,
    owner: Owner,
    job_id: Id,
    name: Annotated[str, Path(pattern=PRINTABLE)],
    redirect: files.Redirect = True,
) -> Response:
    """One file; Range works."""
    file = jobs.file(session, jobs.get(session, owner, job_id), name)
    return files.download(file.sha256, file.name, redirect, TYPES.get(PurePosixPath(file.name).suffix, files.BYTES))


@router.get(
    "/report", response_model=Report, responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
)
def report(request: Request, session: Read, owner: Owner, job_id: Id) -> Response:
    """The report as JSON; as a page with `Accept: text/html`."""
    is_page = "text/html" in request.headers.get("accept", "")
    name = "report.html" if is_page else "report.json"
    file = jobs.file(session, jobs.get(session, owner, job_id), name)
    kind = "text/html" if is_page else "application/json"
    headers = {"Vary": "Accept", "Cache-Control": "no-cache"}  # one address, two documents
    return files.show(file, kind, headers)
