"""Stored files as responses: sent from the folder, or by a redirect to the bucket they are in."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query
from fastapi.responses import FileResponse, Response, StreamingResponse

from api.problems import PROBLEM
from store import artifacts
from store.tables import Artifact

BYTES = "application/octet-stream"
ELSEWHERE: dict[int | str, dict[str, Any]] = {
    204: {"description": "With `redirect=false`: `Location` is where it is, as with 307"},
    307: {"description": "`Location` is where it is for a few minutes: files are in a bucket here (`curl -L`)"},
}
Redirect = Annotated[
    bool, Query(description="false: 204 instead of 307, for pages, whose scripts may follow to no other host.")
]


def responses(*types: str) -> dict[int | str, dict[str, Any]]:
    """Of a route that hands a file of one of these types out, or the part of it that `Range` asks for."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    whole = {"content": {kind: {} if kind == "application/json" else binary for kind in types or (BYTES,)}}
    refused = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        200: {"description": "The file", **whole},
        206: {"description": "The part that `Range` asks for", **whole},
        400: {"description": "`Range` is malformed", **refused},
        416: {"description": "`Range` lies outside the file", **refused},
        503: PROBLEM,
        **ELSEWHERE,
    }


def download(sha256: str, filename: str, redirect: bool, kind: str = BYTES) -> Response:
    """To be saved under a name. The ETag is the sha256, also of a redirect: whoever follows it can check what comes."""
    etag = {"ETag": f'"{sha256}"'}
    link = artifacts.link(sha256, content_type=kind, content_disposition=_attachment(filename))
    if link is None:
        return FileResponse(artifacts.path(sha256), media_type=kind, filename=filename, headers=etag)
    return Response(
        status_code=307 if redirect else 204, headers={**etag, "Location": link, "Cache-Control": "no-store"}
    )


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
