"""Data sets."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ValidationError

from api.auth import Owner
from api.bodies import MULTIPART
from api.deps import Cursor, Id, Limit, Read, Write
from api.files import Redirect, responses
from api.problems import PROBLEM, Problem
from api.routes.uploads import UPLOAD, UploadName, UploadOut, content, outs, receive, refuse_unknown
from pruning.analysis import DatasetSummary, Preprocess
from pruning.faults import sentence
from store import uploads
from store.tables import Dataset

FORMATS = {
    "npz": "x_train, y_train, x_test, y_test, and x_val, y_val if there; x_train.NAME for several inputs.",
    "imagefolder": "zip or tar of train/CLASS/*.jpg, test/..., val/... .",
    "parquet": "zip or tar of train-*.parquet, test-*.parquet as Hugging Face writes them.",
    "idx": "zip or tar of MNIST's four .gz files.",
}
IN_WORDS = " ".join(f"{name}: {text}" for name, text in FORMATS.items()) + " Without labels the dense model teaches."
CHANNELS = "One value, or one for each channel: 0.5,0.4,0.3."
HELP = {name: field.description for name, field in Preprocess.model_fields.items()}
router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses={404: PROBLEM})


class DatasetOut(UploadOut):
    """An uploaded data set; summary (splits, counts, shapes, classes) is there when it is ready."""

    format: str
    preprocess: Preprocess
    summary: DatasetSummary | None


class DatasetPage(BaseModel):
    """A page of data sets, newest first."""

    items: list[DatasetOut]
    next_cursor: str | None


def _preprocess(
    scale: Annotated[
        float, Query(gt=0, allow_inf_nan=False, description="Examples become (x * scale - mean) / std.")
    ] = 1.0,
    mean: Annotated[list[str], Query(description=CHANNELS)] = [],  # noqa: B006
    std: Annotated[list[str], Query(description=CHANNELS)] = [],  # noqa: B006
    size: Annotated[list[str], Query(description="Images are brought to height,width: 224,224, or 224 for both.")] = [],  # noqa: B006
    fit: Annotated[Literal["stretch", "crop"], Query(description=HELP["fit"])] = "stretch",
    color: Annotated[Literal["rgb", "gray"] | None, Query(description=HELP["color"])] = None,
    layout: Annotated[Literal["nchw", "nhwc"], Query(description=HELP["layout"])] = "nchw",
) -> Preprocess:
    lists = {"mean": mean, "std": std, "size": size}
    values: dict[str, Any] = {name: _numbers(name, given) for name, given in lists.items() if given}
    if len(values.get("size", ())) == 1:
        values["size"] *= 2
    try:
        return Preprocess(scale=scale, fit=fit, color=color, layout=layout, **values)
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(422, f"{first['loc'][0]}: {sentence(first)}") from error


def _numbers(name: str, given: list[str]) -> tuple[float, ...]:
    """mean=1,2,3 and mean=1&mean=2&mean=3 are the same."""
    try:
        return tuple(float(part) for text in given for part in text.split(","))
    except ValueError as error:
        example = "224,224" if name == "size" else "0.485,0.456,0.406"
        raise Problem(422, f"{name}: give numbers, such as {name}={example}") from error


def _parameters(
    request: Request,
    preprocess: Annotated[Preprocess, Depends(_preprocess)],
    name: UploadName = "data",
    format: Annotated[Literal["npz", "imagefolder", "parquet", "idx"], Query(description=IN_WORDS)] = "npz",
) -> dict[str, Any]:
    refuse_unknown(request, "dataset")
    return {"name": name, "format": format, "preprocess": preprocess.model_dump(mode="json")}


Parameters = Annotated[dict[str, Any], Depends(_parameters)]


@router.post(
    "",
    status_code=201,
    response_model=DatasetOut,
    responses={**UPLOAD, 200: {**UPLOAD[200], "model": DatasetOut}},
    openapi_extra={"requestBody": {"required": True, "content": MULTIPART}},
)
async def upload(request: Request, response: Response, owner: Owner, parameters: Parameters) -> DatasetOut:
    """Upload a data set as the raw body, or as the multipart part `file`."""
    return await receive(request, response, "dataset", DatasetOut, owner, parameters)


@router.get("", response_model=DatasetPage)
def listing(session: Read, owner: Owner, limit: Limit = 50, cursor: Cursor = None) -> DatasetPage:
    """Your data sets, newest first."""
    page = uploads.listing(session, Dataset, owner, limit, cursor)
    return DatasetPage(items=outs(session, DatasetOut, page.items), next_cursor=page.next_cursor)


@router.get("/{dataset_id}", response_model=DatasetOut)
def get(session: Read, owner: Owner, dataset_id: Id) -> DatasetOut:
    """One data set."""
    return outs(session, DatasetOut, [uploads.get(session, Dataset, owner, dataset_id)])[0]


@router.get("/{dataset_id}/content", response_class=FileResponse, responses=responses())
def download(session: Read, owner: Owner, dataset_id: Id, redirect: Redirect = True) -> Response:
    """The file as it came."""
    row = uploads.get(session, Dataset, owner, dataset_id)
    return content(row, ".npz" if row.format == "npz" else "", redirect)


@router.delete("/{dataset_id}", status_code=204, responses={409: PROBLEM})
def delete(session: Write, owner: Owner, dataset_id: Id) -> None:
    """Remove a data set that no job uses."""
    uploads.delete(session, Dataset, owner, dataset_id)
