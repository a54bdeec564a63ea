"""The arguments of prune, sorted: files, or a PyTorch module with an example."""

from dataclasses import dataclass
from typing import Any

from secateur.export import is_module, to_onnx
from secateur.sources import Data, PathLike, Source

OURS = ("example", "data", "rate")


@dataclass(frozen=True)
class Order:
    """What to prune, with what, and how far."""

    model: PathLike | Source
    data: Data
    rate: float | None = None


def order(model: Any, *given: Any, **named: Any) -> Order:
    """(model, data, rate=None), or (module, example, data, rate=None). Raises: TypeError: neither."""
    if is_module(model) and len(given) + len({"example", "data"} & set(named)) < 2:
        raise TypeError("a module is followed by an example of its input, and then by the data")
    return (_module if is_module(model) else _file)(model, *given, **named)


def _file(model: PathLike, data: Data, rate: float | None = None) -> Order:
    return Order(model, data, rate)


def _module(model: Any, example: Any, data: Data, rate: float | None = None) -> Order:
    return Order(to_onnx(model, example), data, rate)
