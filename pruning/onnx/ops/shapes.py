"""Operators that move or describe values: shapes, slices, constants."""

from typing import Any

import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from pruning.onnx.build import Builder, Node
from pruning.onnx.ops.windows import reversed_pairs


def identity(build: Builder, node: Node) -> Any:
    """Identity, and Dropout as it is at inference, without its mask."""
    return node.input(0)


def constant(build: Builder, node: Node) -> Tensor:
    """Constant: value, value_float(s), value_int(s)."""
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if (value := node.attribute(name)) is not None:
            return torch.tensor(value)
    value = node.attribute("value")
    if value is None:
        raise node.unsupported("only tensors and numbers are supported")
    return torch.from_numpy(numpy_helper.to_array(value).copy())


def constant_of_shape(build: Builder, node: Node) -> Any:
    """ConstantOfShape."""
    value = node.attribute("value")
    fill = torch.zeros(1) if value is None else torch.from_numpy(numpy_helper.to_array(value).copy())
    return build.call(filled, node.input(0), fill.item(), fill.dtype)


def filled(shape: Tensor, value: float, dtype: torch.dtype) -> Tensor:
    """A tensor of this shape with one value everywhere."""
    return torch.full([int(n) for n in shape], value, dtype=dtype)


def cast(build: Builder, node: Node) -> Any:
    """Cast between numbers."""
    dtype = torch.from_numpy(helper.tensor_dtype_to_np_dtype(node.attribute("to")).type([0])).dtype
    return build.call(Tensor.to, node.input(0), dtype)


def shape(build: Builder, node: Node) -> Any:
    """Shape, with start and end since opset 15."""
    return build.call(shape_of, node.input(0), node.attribute("start", 0), node.attribute("end"))


def shape_of(x: Tensor, start: int, end: int | None) -> Tensor:
    """The shape as int64, on the CPU where shapes are computed with."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def gather(build: Builder, node: Node) -> Any:
    """Gather along one axis."""
    return build.call(take, node.input(0), node.input(1), node.attribute("axis", 0))


def take(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """X indexed along an axis by a tensor of any rank; negative indices count from the end."""
    axis = axis % x.dim()
    flat = (indices.long().flatten() % x.shape[axis]).to(x.device)
    return torch.reshape(x.index_select(axis, flat), (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def flatten(build: Builder, node: Node) -> Any:
    """Flatten to a matrix."""
    return build.call(to_matrix, node.input(0), node.attribute("axis", 1))


def to_matrix(x: Tensor, axis: int) -> Tensor:
    """X as a matrix cut at `axis`."""
    if axis == 1:
        return x.flatten(1)
    rows = 1
    for n in x.shape[: axis % (x.dim() + 1) if axis < 0 else axis]:
        rows *= n
    return x.reshape(rows, -1)


def reshape(build: Builder, node: Node) -> Any:
    """Reshape; a literal batch size that the exporter wrote down becomes the batch at hand."""
    x, target = node.inputs[0], node.input(1)
    if isinstance(target, Tensor):
        dims = [int(n) for n in target]
        if not isinstance(x, Tensor) and build.batch is not None and dims and dims[0] == build.batch:
            dims[0] = 0
        return build.call(to_shape, x, dims, bool(node.attribute("allowzero", 0)))
    return build.call(to_computed_shape, x, target)


def to_shape(x: Tensor, dims: list[int], allow_zero: bool) -> Tensor:
    """ONNX's Reshape: 0 keeps the axis unless zero is allowed."""
    return torch.reshape(x, tuple(x.shape[i] if n == 0 and not allow_zero else n for i, n in enumerate(dims)))


def to_computed_shape(x: Tensor, dims: Tensor) -> Tensor:
    """Reshape to a shape known at run time."""
    return to_shape(x, [int(n) for n in dims], False)


def transpose(build: Builder, node: Node) -> Any:
    """Transpose; without perm all axes are reversed."""
    return build.call(permute, node.input(0), node.attribute("perm"))


def permute(x: Tensor, order: list[int] | None) -> Tensor:
    """X with its axes in this order."""
    return x.permute(order or list(reversed(range(x.dim()))))


def squeeze(build: Builder, node: Node) -> Any:
    """Squeeze: axes are an attribute before opset 13, a constant input since."""
    axes = _axes(node)
    return build.call(torch.squeeze, node.input(0), *([] if axes is None else [tuple(axes)]))


def unsqueeze(build: Builder, node: Node) -> Any:
    """Unsqueeze: axes are an attribute before opset 13, a constant input since."""
    return build.call(with_ones, node.input(0), _axes(node))


def with_ones(x: Tensor, axes: list[int]) -> Tensor:
    """X with axes of length one at these places of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def concat(build: Builder, node: Node) -> Any:
    """Concat."""
    return build.call(torch.cat, tuple(node.inputs), node.attribute("axis"))


def slice_(build: Builder, node: Node) -> Any:
    """Slice: bounds are attributes before opset 10, inputs since."""
    if node.opset < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes = node.attribute("axes")
        return build.call(
            cut, node.input(0), torch.tensor(starts), torch.tensor(ends), None if axes is None else torch.tensor(axes)
        )
    return build.call(cut, *node.inputs)


def cut(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """ONNX's Slice; a negative step walks backwards."""
    order = range(len(starts)) if axes is None else [int(a) for a in axes]
    for i, axis in enumerate(order):
        step = 1 if steps is None else int(steps[i])
        bounds = slice(int(starts[i]), int(ends[i]), step)
        if step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (bounds,)]
        else:
            picked = torch.arange(x.shape[axis])[list(range(*bounds.indices(x.shape[axis])))]
            x = x.index_select(axis, picked.to(x.device))
    return x


def pad(build: Builder, node: Node) -> Any:
    """Pad: widths and value are attributes before opset 11, inputs since."""
    mode = node.attribute("mode", "constant")
    if mode not in MODES:
        raise node.unsupported(f"mode {mode!r} is not supported")
    if node.opset < 11:
        widths, value, axes = torch.tensor(node.attribute("pads")), node.attribute("value", 0.0), None
    else:
        widths, fill, axes = node.constant(1), node.constant(2), node.constant(3)
        value = 0.0 if fill is None else fill.item()
    return build.call(padded, node.input(0), [int(n) for n in widths], axes, MODES[mode], value)  # type: ignore[union-attr]


MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


def padded(x: Tensor, widths: list[int], axes: Tensor | None, mode: str, value: float) -> Tensor:
    """X padded by ONNX's (begins, ends) of these axes, of all if None."""
    begins, ends = [0] * x.dim(), [0] * x.dim()
    order = range(x.dim()) if axes is None else [int(a) % x.dim() for a in axes]
    for i, axis in enumerate(order):
        begins[axis], ends[axis] = widths[i], widths[len(order) + i]
    if mode == "constant":
        return F.pad(x, reversed_pairs(begins, ends), mode, value)
    return F.pad(x, reversed_pairs(begins[2:], ends[2:]), mode)


def _axes(node: Node) -> list[int] | None:
    axes = node.attribute("axes") if node.opset < 13 else node.constant(1)
    return None if axes is None else [int(a) for a in axes]
