"""Examples in the OpenAPI document that work when pasted: ids of what is really there."""

from typing import Any

from api.auth import LOCAL
from store import job_lists, uploads
from store.database import reading
from store.settings import settings
from store.tables import Dataset, Model


def fill(schema: dict[str, Any]) -> None:
    """The ids of the document's examples, by what is there now."""
    _fill(schema, {} if settings().auth else _newest())  # with keys ids are nobody else's business


def _newest() -> dict[str, str]:
    """The newest ready model and data set, and the newest job, where there are any."""
    with reading() as session:
        found = {
            "model_id": [r.id for r in uploads.listing(session, Model, LOCAL, 50, None).items if r.status == "ready"],
            "dataset_id": [
                r.id for r in uploads.listing(session, Dataset, LOCAL, 50, None).items if r.status == "ready"
            ],
            "job_id": [j.id for j in job_lists.listing(session, LOCAL, 1, None).items],
        }
    return {name: ids[0] for name, ids in found.items() if ids}


def _fill(schema: dict[str, Any], ids: dict[str, str]) -> None:
    for name, field in schema["components"]["schemas"]["JobIn"]["properties"].items():
        if name in ids:
            field["examples"] = [ids[name]]
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in ids and parameter["in"] == "path":
                    parameter["example"] = ids[parameter["name"]]
