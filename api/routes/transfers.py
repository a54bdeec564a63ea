"""Uploads in pieces that go on after a cut: the tus protocol, version 1.0 (https://tus.io)."""

import base64
import binascii
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Owner
from api.bodies import empty, too_large
from api.deps import Id, Read, Write
from api.pieces import Checksum, take
from api.problems import PRINTABLE, PROBLEM, Problem
from api.resumable import VERSION
from api.routes import datasets, models
from api.routes.uploads import PLACE, Kind, Time, full, most, room
from store import transfers
from store.database import reading, writing
from store.tables import Transfer

PIECE = "application/offset+octet-stream"
ALGORITHMS = ("sha1", "sha256", "md5")
EXTENSIONS = "creation,creation-with-upload,termination,checksum,expiration"
LONGEST_NAME = 255
router = APIRouter(prefix="/v1", tags=["uploads in pieces"], responses={404: PROBLEM})


class TransferOut(BaseModel):
    """An upload in pieces; when its last byte has come it becomes a model or data set."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: Kind
    offset: int = Field(description="Bytes that are safe; the next piece begins here.")
    length: int
    expires_at: Time = Field(description="It is forgotten then; every piece puts that off.")
    upload_id: str | None = Field(description="The model or data set that was made of it.")
    is_new: bool | None = Field(description="False: the same bytes were there already, and nothing was added.")


def _version(tus_resumable: Annotated[str | None, Header(include_in_schema=False)] = None) -> None:
    if tus_resumable != VERSION:
        detail = f"this is tus {VERSION}: send the header Tus-Resumable: {VERSION}"
        raise Problem(412, detail, {"Tus-Version": VERSION})


def _header(name: str, description: str, required: bool = False, **schema: Any) -> dict[str, Any]:
    """As the document says it; what is wrong with one is said in the protocol's own way, not as a 422."""
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


def _told(*names: str) -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}, "required": True} for name in names}


SPOKEN = Depends(_version)
PROTOCOL = _header("Tus-Resumable", "The version of the protocol.", True, type="string", enum=[VERSION])
CHECKSUM = _header(
    "Upload-Checksum",
    "Of this piece, in base64; 460 where it is another.",
    type="string",
    pattern=r"^(md5 [A-Za-z0-9+/]{22}==|sha1 [A-Za-z0-9+/]{27}=|sha256 [A-Za-z0-9+/]{43}=)$",
)
LENGTH = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
DESCRIBED = _header("Upload-Metadata", "name or filename, and its value in base64.", type="string")
BODILESS = {"description": "As for other methods, without a body"}
BODY: dict[str, Any] = {PIECE: {"schema": {"type": "string", "format": "binary"}}}
BEGUN: dict[str, Any] = {
    "status_code": 201,
    "response_model": TransferOut,
    "dependencies": [SPOKEN],
    "responses": {
        201: {"headers": {**_told("Upload-Offset", "Upload-Expires"), **PLACE}},
        **dict.fromkeys((400, 409, 410, 412, 423, 460, 503, 507), PROBLEM),
    },
    "openapi_extra": {
        "parameters": [PROTOCOL, _header("Upload-Length", "Bytes in all.", True, **LENGTH), DESCRIBED, CHECKSUM],
        "requestBody": {"required": False, "content": BODY},
    },
}
PIECES: dict[str, Any] = {
    "status_code": 204,
    "dependencies": [SPOKEN],
    "responses": {
        204: {"headers": _told("Upload-Offset", "Upload-Expires")},
        **dict.fromkeys((400, 409, 410, 412, 415, 423, 460, 503, 507), PROBLEM),
    },
    "openapi_extra": {
        "parameters": [
            PROTOCOL,
            _header("Upload-Offset", "Where the piece begins.", True, **{**LENGTH, "minimum": 0}),
            CHECKSUM,
        ],
        "requestBody": {"required": True, "content": BODY},
    },
}


SPEAKS: dict[str, Any] = {
    "status_code": 204,
    "responses": {204: {"headers": _told("Tus-Version", "Tus-Extension", "Tus-Checksum-Algorithm", "Tus-Max-Size")}},
}


@router.post("/models/transfers", **BEGUN)
async def begin_model(request: Request, response: Response, owner: Owner, parameters: models.Parameters) -> Transfer:
    """Begin the upload of a model of `Upload-Length` bytes; `Location` is where its pieces go."""
    return await _begin(request, response, owner, "model", parameters)


@router.post("/datasets/transfers", **BEGUN)
async def begin_dataset(
    request: Request, response: Response, owner: Owner, parameters: datasets.Parameters
) -> Transfer:
    """Begin the upload of a data set of `Upload-Length` bytes; `Location` is where its pieces go."""
    return await _begin(request, response, owner, "dataset", parameters)


@router.options("/models/transfers", **SPEAKS)
@router.options("/datasets/transfers", **SPEAKS)
@router.options("/transfers", **SPEAKS)
def options(request: Request, response: Response) -> None:
    """What of the protocol is spoken here."""
    _say(request, response)


@router.options("/transfers/{transfer_id}", **SPEAKS)
def options_of(request: Request, response: Response, transfer_id: Id) -> None:
    """The same for every transfer."""
    _say(request, response)


def _say(request: Request, response: Response) -> None:
    kinds = ["model", "dataset"]
    asked = [kind for kind in kinds if request.url.path.startswith(f"/v1/{kind}s/")] or kinds
    response.headers["Tus-Version"] = VERSION
    response.headers["Tus-Extension"] = EXTENSIONS
    response.headers["Tus-Checksum-Algorithm"] = ",".join(ALGORITHMS)
    response.headers["Tus-Max-Size"] = str(max(most(kind) for kind in asked))


@router.get("/transfers/{transfer_id}", response_model=TransferOut, responses={410: PROBLEM})
def get(session: Read, owner: Owner, transfer_id: Id) -> Transfer:
    """How far it is, and what became of it."""
    return transfers.get(session, owner, transfer_id)


@router.head(
    "/transfers/{transfer_id}",
    dependencies=[SPOKEN],
    response_class=Response,
    responses={
        200: {"headers": _told("Upload-Offset", "Upload-Length", "Upload-Expires")},
        410: BODILESS,
        412: BODILESS,
    },
    openapi_extra={"parameters": [PROTOCOL]},
)
def offset(session: Read, owner: Owner, transfer_id: Id) -> Response:
    """How far it is, in `Upload-Offset`."""
    row = transfers.get(session, owner, transfer_id)
    described = {} if row.described is None else {"Upload-Metadata": row.described}
    return Response(headers={**_headers(row), "Upload-Length": str(row.length), **described})


@router.patch("/transfers/{transfer_id}", **PIECES)
async def piece(request: Request, response: Response, owner: Owner, transfer_id: Id) -> None:
    """Add a piece of any size at `Upload-Offset`; after the last, `Location` is the model or data set."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PIECE:
        raise Problem(415, f"send the piece with the header Content-Type: {PIECE}")
    row = await _go_on(request, owner, transfer_id, _number(request, "Upload-Offset"))
    response.headers.update(_headers(row))


@router.delete(
    "/transfers/{transfer_id}",
    status_code=204,
    dependencies=[SPOKEN],
    responses={412: PROBLEM},
    openapi_extra={"parameters": [PROTOCOL]},
)
def terminate(session: Write, owner: Owner, transfer_id: Id) -> None:
    """Give an upload up; of a finished one the model or data set stays."""
    transfers.end(session, owner, transfer_id)


async def _begin(request: Request, response: Response, owner: str, kind: Kind, parameters: dict[str, Any]) -> Transfer:
    if "upload-defer-length" in request.headers:
        raise Problem(400, "the length must be known from the start: send Upload-Length instead of Upload-Defer-Length")
    length = _number(request, "Upload-Length")
    described = request.headers.get("upload-metadata")
    if "name" not in request.query_params and (name := _name(described or "")):
        parameters = parameters | {"name": name}
    row = await run_in_threadpool(_add, owner, kind, parameters, length, described)
    if request.headers.get("content-type", "").startswith(PIECE):
        row = await _go_on(request, owner, row.id, 0)
    response.headers.update(_headers(row) | {"Location": f"/v1/transfers/{row.id}"})
    return row


def _add(owner: str, kind: Kind, parameters: dict[str, Any], length: int, described: str | None) -> Transfer:
    _check_size(kind, owner, length)
    with writing() as session:
        return transfers.add(session, owner, kind, parameters, length, described)


async def _go_on(request: Request, owner: str, id: str, at: int) -> Transfer:
    checksum = _checksum(request)
    row = await run_in_threadpool(_ask, request, owner, id, at)
    return row if row.upload_id is not None else await take(request, row, checksum)


def _ask(request: Request, owner: str, id: str, at: int) -> Transfer:
    with reading() as session:
        row = transfers.get(session, owner, id)
    _check_size(row.kind, owner, row.length, row.offset)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > row.length - at >= 0:
        raise too_large(row.length - at)
    with writing() as session:
        return transfers.ask(session, owner, id, at)


def _check_size(kind: str, owner: str, length: int, here: int = 0) -> None:
    """Args: here: how many of its bytes have come, and count already. Raises: Problem 413 or 422."""
    if not length:
        raise empty()
    if length > (largest := most(kind)):
        raise too_large(largest)
    if (left := room(owner)) is not None and length - here > left:
        raise full(left)


def _headers(row: Transfer) -> dict[str, str]:
    expires = format_datetime(datetime.fromtimestamp(row.expires_at, UTC), usegmt=True)
    place = {} if row.upload_id is None else {"Location": f"/v1/{row.kind}s/{row.upload_id}"}
    return {"Upload-Offset": str(row.offset), "Upload-Expires": expires, **place}


def _number(request: Request, header: str) -> int:
    """Raises: Problem 400."""
    text = request.headers.get(header, "")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Problem(400, f"send the header {header}, a number of bytes")
    return int(text)


def _checksum(request: Request) -> Checksum | None:
    """Raises: Problem 400."""
    if (text := request.headers.get("upload-checksum")) is None:
        return None
    algorithm, _, digest = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise Problem(400, f"Upload-Checksum: the algorithms are {', '.join(ALGORITHMS)}")
    return Checksum(algorithm, _decoded("Upload-Checksum", digest, 400))


def _name(described: str) -> str:
    """The file's name in Upload-Metadata: its `name`, else its `filename`. Raises: Problem 422."""
    pairs = (pair.strip().partition(" ") for pair in described.split(","))
    found = {key: value for key, _, value in pairs if key in ("name", "filename")}
    name = _decoded("Upload-Metadata", found.get("name") or found.get("filename") or "", 422).decode(errors="replace")
    if len(name) > LONGEST_NAME or not re.fullmatch(PRINTABLE, name):
        raise Problem(422, f"Upload-Metadata: a name has at most {LONGEST_NAME} characters, all of them printable")
    return name


def _decoded(header: str, text: str, status: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(status, f"{header}: what stands after the name must be base64") from error
