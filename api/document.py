"""The OpenAPI document, where the routes cannot say by themselves what they do."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI

from api import examples
from api.problems import METHODS, SCHEMA
from store.settings import settings


def install(app: FastAPI) -> None:
    """Complete the document anew each time it is asked for."""
    build: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        document = copy.deepcopy(build())
        document["components"]["schemas"]["Problem"] = SCHEMA
        for operation in _operations(document):
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
        if not settings().auth:
            _open(document)
        examples.fill(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from (item[method.lower()] for method in METHODS if method.lower() in item)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter may be left out, but nothing in a header or an address is null."""
    kept = [s for s in schema.get("anyOf", []) if s != {"type": "null"}]
    if len(kept) != 1:
        return schema
    return {**{k: v for k, v in schema.items() if k != "anyOf"}, **kept[0]}


def _open(document: dict[str, Any]) -> None:
    """Without keys nothing asks for one; the metrics may have a token of their own."""
    for path, item in document["paths"].items():
        if path != "/metrics" or not settings().metrics_token:
            for method in METHODS:
                item.get(method.lower(), {}).pop("security", None)
