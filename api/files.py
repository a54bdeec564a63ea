"""Stored files as responses: sent from the folder, or by a redirect to the bucket they are in."""

from collections.abc import Mapping
from urllib.parse import quote

from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from store import artifacts
from store.tables import Artifact

BYTES = "application/octet-stream"
ELSEWHERE = {"description": "Where it is for a few minutes: files of this service are in a bucket (`curl -L`)"}


def download(sha256: str, filename: str, kind: str = BYTES) -> Response:
    """To be saved under a name. The ETag is the sha256, also of a redirect: whoever follows it can check what comes."""
    etag = {"ETag": f'"{sha256}"'}
    link = artifacts.link(sha256, content_type=kind, content_disposition=_attachment(filename))
    if link is None:
        return FileResponse(artifacts.path(sha256), media_type=kind, filename=filename, headers=etag)
    return RedirectResponse(link, 307, headers={**etag, "Cache-Control": "no-store"})


def show(file: Artifact, kind: str, headers: Mapping[str, str]) -> Response:
    """To be read here and now, with our headers: never by a redirect.

    Raises: FileNotFoundError. StorageAway.
    """
    length = {"Content-Length": str(file.bytes), "ETag": f'"{file.sha256}"'}
    return StreamingResponse(artifacts.pieces(file.sha256), media_type=kind, headers={**length, **headers})


def _attachment(filename: str) -> str:
    """As FileResponse writes it."""
    quoted = quote(filename)
    return f'attachment; filename="{filename}"' if quoted == filename else f"attachment; filename*=utf-8''{quoted}"
