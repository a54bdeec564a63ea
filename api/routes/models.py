"""Models."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from api.auth import Owner
from api.bodies import MULTIPART
from api.deps import Cursor, Id, Limit, Read, Write
from api.files import Redirect, responses
from api.problems import PROBLEM
from api.routes.uploads import UPLOAD, UploadName, UploadOut, content, outs, receive, refuse_unknown, require_ready
from pruning.analysis import Analysis
from store import uploads
from store.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"], responses={404: PROBLEM})


class ModelOut(UploadOut):
    """An uploaded model."""


class ModelPage(BaseModel):
    """A page of models, newest first."""

    items: list[ModelOut]
    next_cursor: str | None


def _parameters(request: Request, name: UploadName = "model.onnx") -> dict[str, Any]:
    refuse_unknown(request, "model")
    return {"name": name}


Parameters = Annotated[dict[str, Any], Depends(_parameters)]


@router.post(
    "",
    status_code=201,
    response_model=ModelOut,
    responses={**UPLOAD, 200: {**UPLOAD[200], "model": ModelOut}},
    openapi_extra={"requestBody": {"required": True, "content": MULTIPART}},
)
async def upload(request: Request, response: Response, owner: Owner, parameters: Parameters) -> ModelOut:
    """Upload an ONNX file as the raw body (`curl -T model.onnx -X POST`), or as the multipart part `file`."""
    return await receive(request, response, "model", ModelOut, owner, parameters)


@router.get("", response_model=ModelPage)
def listing(session: Read, owner: Owner, limit: Limit = 50, cursor: Cursor = None) -> ModelPage:
    """Your models, newest first."""
    page = uploads.listing(session, Model, owner, limit, cursor)
    return ModelPage(items=outs(session, ModelOut, page.items), next_cursor=page.next_cursor)


@router.get("/{model_id}", response_model=ModelOut)
def get(session: Read, owner: Owner, model_id: Id) -> ModelOut:
    """One model."""
    return outs(session, ModelOut, [uploads.get(session, Model, owner, model_id)])[0]


@router.get("/{model_id}/analysis", response_model=Analysis, responses={409: PROBLEM, 422: PROBLEM})
def analysis(session: Read, owner: Owner, model_id: Id) -> dict[str, object]:
    """What can be pruned in it."""
    row = uploads.get(session, Model, owner, model_id)
    require_ready(row)
    return row.analysis or {}


@router.get("/{model_id}/content", response_class=FileResponse, responses=responses())
def download(session: Read, owner: Owner, model_id: Id, redirect: Redirect = True) -> Response:
    """The file as it came."""
    return content(uploads.get(session, Model, owner, model_id), ".onnx", redirect)


@router.delete("/{model_id}", status_code=204, responses={409: PROBLEM})
def delete(session: Write, owner: Owner, model_id: Id) -> None:
    """Remove a model that no job uses."""
    uploads.delete(session, Model, owner, model_id)
