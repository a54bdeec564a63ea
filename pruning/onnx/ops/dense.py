"""Products with weights: the operators whose weights are pruned, and Einsum."""

import string
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from pruning.onnx.build import Builder
from pruning.onnx.node import Node, Value
from pruning.onnx.ops.windows import pad_before

CONVOLUTIONS: dict[int, tuple[Callable[..., nn.Module], Callable[..., Tensor]]] = {
    1: (nn.Conv1d, F.conv1d),
    2: (nn.Conv2d, F.conv2d),
    3: (nn.Conv3d, F.conv3d),
}
TRANSPOSED: dict[int, tuple[Callable[..., nn.Module], Callable[..., Tensor]]] = {
    1: (nn.ConvTranspose1d, F.conv_transpose1d),
    2: (nn.ConvTranspose2d, F.conv_transpose2d),
    3: (nn.ConvTranspose3d, F.conv_transpose3d),
}


def conv(build: Builder, node: Node) -> Any:
    """1 to 3 spatial axes. A weight that is not stored in the file is not trained."""
    rank, kernel = _window(build, node, CONVOLUTIONS)
    x, padding = pad_before(build, node, node.input(0), kernel)
    options = {
        "stride": tuple(node.attribute("strides", [1] * rank)),
        "padding": padding,
        "dilation": tuple(node.attribute("dilations", [1] * rank)),
        "groups": node.attribute("group", 1),
    }
    weight = build.weight(node, 1) if isinstance(x, fx.Node) else None
    if weight is None:
        return build.call(CONVOLUTIONS[rank][1], x, build.read(node, 1), node.input(2), **options)
    channels = weight.shape[1] * options["groups"], weight.shape[0]
    module = CONVOLUTIONS[rank][0](*channels, kernel_size=kernel, bias=False, device="meta", **options)
    return _layer(build, node, module, x, weight, "conv", (-1, *[1] * rank))


def conv_transpose(build: Builder, node: Node) -> Any:
    """1 to 3 spatial axes; output_padding must be smaller than the stride or the dilation."""
    rank, kernel = _window(build, node, TRANSPOSED)
    pads = node.attribute("pads", [0] * (2 * rank))
    size, mode = node.attribute("output_shape"), node.attribute("auto_pad", "NOTSET")
    native = size is None and mode in ("NOTSET", "VALID") and pads[:rank] == pads[rank:]
    strides = tuple(node.attribute("strides", [1] * rank))
    options = {
        "stride": strides,
        "padding": tuple(pads[:rank]) if native and mode == "NOTSET" else (0,) * rank,
        "output_padding": tuple(node.attribute("output_padding", [0] * rank)),
        "groups": node.attribute("group", 1),
        "dilation": tuple(node.attribute("dilations", [1] * rank)),
    }
    x = node.input(0)
    weight = build.weight(node, 1) if isinstance(x, fx.Node) else None
    if weight is None:
        y = build.call(TRANSPOSED[rank][1], x, build.read(node, 1), node.input(2), **options)
    else:
        channels = weight.shape[0], weight.shape[1] * options["groups"]
        module = TRANSPOSED[rank][0](*channels, kernel_size=kernel, bias=False, device="meta", **options)
        y = _layer(build, node, module, x, weight, "conv_transpose", (-1, *[1] * rank))
    if native:
        return y
    if size is None and mode == "NOTSET":
        return build.call(trimmed, y, pads[:rank], pads[rank:])
    if size is None:
        return build.call(trimmed_to, y, x, strides, None, mode == "SAME_LOWER")
    return build.call(trimmed_to, y, x, strides, size[-rank:], mode != "SAME_UPPER")


def trimmed(x: Tensor, begins: list[int], ends: list[int]) -> Tensor:
    """X without so many positions at the begin and end of each spatial axis; negative numbers pad."""
    pairs = [(-b, -e) for b, e in zip(begins, ends, strict=True)]
    return F.pad(x, [n for pair in reversed(pairs) for n in pair])


def trimmed_to(y: Tensor, x: Tensor, strides: tuple[int, ...], size: list[int] | None, lower: bool) -> Tensor:
    """Y cut to a size (None: that of x times the strides); the odd position goes at the end, or at the begin."""
    sizes = size or [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    spare = [have - want for have, want in zip(y.shape[2:], sizes, strict=True)]
    begins = [s - s // 2 if lower else s // 2 for s in spare]
    return trimmed(y, begins, [s - b for s, b in zip(spare, begins, strict=True)])


def gemm(build: Builder, node: Node) -> Any:
    """With a stored B it becomes nn.Linear; anything else is computed as it stands."""
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    a = build.call(torch.t, node.input(0)) if node.attribute("transA", 0) else node.input(0)
    weight = None
    if isinstance(a, fx.Node):
        weight = build.weight(node, 1, *(() if node.attribute("transB", 0) else (torch.t,)))
    if weight is not None and alpha == 1 and beta == 1:
        return _layer(build, node, _linear(weight), a, weight, "dense", None)
    b = build.read(node, 1)
    b = build.call(torch.t, b) if node.attribute("transB", 0) else b
    return build.call(scaled_product, a, b, node.input(2), alpha, beta)


def scaled_product(a: Tensor, b: Tensor, c: Tensor | None, alpha: float, beta: float) -> Tensor:
    """Alpha * a @ b + beta * c, in the type of a."""
    product = torch.matmul(a, b) if alpha == 1 else torch.matmul(a, b) * alpha
    return (product if c is None else product + (c if beta == 1 else c * beta)).to(a.dtype)


def matmul(build: Builder, node: Node) -> Any:
    """By a stored matrix on either side it becomes nn.Linear without bias; other products stay as they are."""
    left, right = node.input(0), node.input(1)
    if isinstance(left, fx.Node) and isinstance(right, Tensor) and right.dim() == 2:
        weight = build.weight(node, 1, torch.t)
        if weight is not None:
            return _layer(build, node, _linear(weight), left, weight, "dense", None)
    if isinstance(right, fx.Node) and isinstance(left, Tensor) and left.dim() == 2:
        weight = build.weight(node, 0)
        if weight is not None:
            return _from_the_left(build, node, right, weight)
    return build.call(torch.matmul, build.read(node, 0), build.read(node, 1))


def _from_the_left(build: Builder, node: Node, x: fx.Node, weight: nn.Parameter) -> Any:
    """W @ x: the columns of x are what nn.Linear takes as rows; a vector is one row."""
    is_vector = build.rank(node, 1) == 1
    rows = x if is_vector else build.call(torch.transpose, x, -1, -2)
    y = _layer(build, node, _linear(weight), rows, weight, "dense", None)
    return y if is_vector else build.call(torch.transpose, y, -1, -2)


def einsum(build: Builder, node: Node) -> Any:
    """Stored operands are trained, and not pruned."""
    operands = [build.read(node, i) for i in range(len(node.inputs))]
    return build.call(torch.einsum, _letters(node.attribute("equation")), *operands)


def _letters(equation: str) -> str:
    """Torch takes single letters only, and no spaces."""
    return "".join(c for c in equation if c in string.ascii_letters + ".,->")


def _window(build: Builder, node: Node, known: dict[int, Any]) -> tuple[int, tuple[int, ...]]:
    """Spatial axes, and the kernel's size along each."""
    W = node.input(1)
    kernel = tuple(W.shape[2:]) if isinstance(W, Tensor) else tuple(node.attribute("kernel_shape", ()))
    kernel = kernel or tuple((build.shape(node, 1) or ())[2:])
    if len(kernel) not in known:
        raise node.unsupported(f"{len(kernel)} spatial axes are not supported; 1 to 3 are")
    return len(kernel), kernel


def _linear(weight: Tensor) -> nn.Module:
    return nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")


def _layer(
    build: Builder, node: Node, module: nn.Module, x: Value, weight: nn.Parameter, kind: str, over: Any
) -> fx.Node:
    """The module, made without memory of its own, takes the file's tensors as its parameters.

    Args: over: shape in which a computed bias is added afterwards; None: as it is.
    """
    module.register_parameter("weight", weight)
    bias = _bias(build, node, weight, kind)
    if bias is not None:
        module.register_parameter("bias", bias)
    y = build.module(node, module, x)
    name = build.prune(weight, node, kind)
    if bias is not None and kind in ("conv", "dense"):
        build.bias_of.setdefault(name, build.name_of(bias))
    added = build.read(node, 2) if node.op != "MatMul" and bias is None and node.input(2) is not None else None
    if added is None:
        return y
    return build.call(torch.add, y, added if over is None else build.call(torch.reshape, added, over))


def _bias(build: Builder, node: Node, weight: Tensor, kind: str) -> nn.Parameter | None:
    """The stored vector of biases, as (out,)."""
    value = node.input(2) if node.op != "MatMul" else None
    out = weight.shape[0] if kind in ("conv", "dense") else None
    if not isinstance(value, Tensor) or (out is not None and value.numel() != out) or value.shape[-1] != value.numel():
        return None
    return build.weight(node, 2) if value.dim() == 1 else build.weight(node, 2, torch.flatten)


CONVERTERS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Einsum": einsum,
    "Gemm": gemm,
    "MatMul": matmul,
}
