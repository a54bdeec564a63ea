"""Values that are made, described or retyped: constants, shapes, casts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pruning.onnx.build import LARGEST_CONSTANT, Builder, makes_numbers, reads_numbers
from pruning.onnx.dtypes import dtype_of, values_of
from pruning.onnx.node import Node, Value


def identity(build: Builder, node: Node) -> Any:
    return node.input(0)


def dropout(build: Builder, node: Node) -> Any:
    """As at inference: nothing is dropped; the mask output is all true (all one before opset 10)."""
    training = node.input(2)
    if training is not None and (not isinstance(training, Tensor) or bool(training)):
        raise node.unsupported("training_mode must be false")
    if not node.gives(1):
        return node.input(0)
    dtype = torch.bool if node.opset >= 10 else torch.float32
    return node.input(0), build.call(torch.ones_like, node.input(0), dtype=dtype)


def constant(build: Builder, node: Node) -> Tensor:
    """Tensors and numbers; no strings, no sparse tensors."""
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if (value := node.attribute(name)) is not None:
            return torch.tensor(value, dtype=torch.int64 if "int" in name else torch.float32)
    value = node.attribute("value")
    if value is None:
        raise node.unsupported("only tensors and numbers are supported")
    return values_of(value)


def constant_of_shape(build: Builder, node: Node) -> Any:
    value = node.attribute("value")
    fill = torch.zeros(1) if value is None else values_of(value)
    return build.call(filled, node.input(0), fill.item(), fill.dtype)


@reads_numbers
@makes_numbers
def filled(shape: Tensor, value: float, dtype: torch.dtype) -> Tensor:
    """A tensor of this shape with one value everywhere. Raises: ValueError: it would be too large."""
    sizes = [int(n) for n in shape]
    elements = 1
    for n in sizes:
        elements *= n
    if elements > LARGEST_CONSTANT:
        raise ValueError(f"a constant of shape {sizes} is too large")
    return torch.full(sizes, value, dtype=dtype)


def range_(build: Builder, node: Node) -> Any:
    return build.call(counted, *node.inputs)


@reads_numbers
@makes_numbers
def counted(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start, start + delta, ... before limit. Raises: ValueError: it would be too long."""
    if abs((limit.item() - start.item()) / delta.item()) > LARGEST_CONSTANT:
        raise ValueError("the range is too long")
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def eye_like(build: Builder, node: Node) -> Any:
    given = node.attribute("dtype")
    return build.call(diagonal, node.input(0), node.attribute("k", 0), None if given is None else dtype_of(given))


def diagonal(x: Tensor, k: int, dtype: torch.dtype | None) -> Tensor:
    """Ones on the k-th diagonal of a matrix like x."""
    rows, columns = x.shape
    places = torch.arange(columns)[None, :] - torch.arange(rows)[:, None] == k
    return places.to(dtype or x.dtype)


def shape(build: Builder, node: Node) -> Any:
    """With start and end since opset 15."""
    return build.call(shape_of, node.input(0), node.attribute("start", 0), node.attribute("end"))


@makes_numbers
def shape_of(x: Tensor, start: int, end: int | None) -> Tensor:
    """The shape as int64, on the CPU where shapes are computed with."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def size(build: Builder, node: Node) -> Any:
    return build.call(count_of, node.input(0))


@makes_numbers
def count_of(x: Tensor) -> Tensor:
    """Number of elements, as int64."""
    return torch.tensor(x.numel(), dtype=torch.int64)


def cast(build: Builder, node: Node) -> Any:
    """Between numbers; half precision is computed in single. No strings, float8 or int4."""
    return _cast(build, node.input(0), dtype_of(node.attribute("to")))


def cast_like(build: Builder, node: Node) -> Any:
    """Between numbers."""
    like = node.input(1)
    if isinstance(like, Tensor):
        return _cast(build, node.input(0), like.dtype)
    return build.call(Tensor.type_as, node.input(0), like)


def _cast(build: Builder, x: Value, dtype: torch.dtype) -> Any:
    return x if isinstance(x, Tensor) and x.dtype == dtype else build.call(Tensor.to, x, dtype)


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {
    "Cast": cast,
    "CastLike": cast_like,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Dropout": dropout,
    "EyeLike": eye_like,
    "Identity": identity,
    "Range": range_,
    "Shape": shape,
    "Size": size,
}
