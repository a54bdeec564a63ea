"""Normalization; stored scales and biases are trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from pruning.onnx.build import Builder
from pruning.onnx.dtypes import values_of
from pruning.onnx.node import Node
from pruning.processes import ALONE, Group


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization over axis 1 of an input of any rank. group: processes that share a batch, and its statistics
    while training; torch.nn.SyncBatchNorm is for CUDA alone.
    """

    group: Group = ALONE

    def forward(self, input: Tensor) -> Tensor:
        """As in torch; for a group with the statistics of all of it."""
        if not self.training or self.group.size == 1:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        var, mean, count = self.group.moments(input.float(), axes)
        self._remember(mean, var * count / (count - 1))
        return normalized(input, self.weight, self.bias, mean, var, self.eps).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1

    def _check_input_dim(self, input: object) -> None:
        """ONNX has one operator for all ranks."""


def batch_normalization(build: Builder, node: Node) -> Any:
    """Trained with batch statistics; momentum is the weight of the old value in ONNX, of the new one in torch."""
    epsilon, momentum = node.attribute("epsilon", 1e-5), node.attribute("momentum", 0.9)
    if node.attribute("training_mode", 0) or node.gives(1):
        scale, bias = build.read(node, 1), build.read(node, 2)
        running = node.input(3), node.input(4)
        result = build.call(normalized_by_batch, node.input(0), scale, bias, *running, epsilon, momentum)
        return build.outputs(result, 3)
    names = node.input_names[1:5]
    parameters = [build.weight(node, i) for i in (1, 2)]
    whole = all(name in build.origins and not build.origins[name].moves for name in names[2:])
    if not isinstance(node.input(0), fx.Node) or None in parameters or not whole:
        return build.call(
            normalized, node.input(0), build.read(node, 1), build.read(node, 2), *node.inputs[3:], epsilon
        )
    same = tuple(build.origins[name] for name in names)
    if same in build.norms:  # one layer that is applied again
        node.trained.update((3, 4))
        return build.graph.call_module(build.norms[same], (node.input(0),))
    module = BatchNorm(values_of(build.tensors[names[2]]).numel(), eps=epsilon, momentum=1 - momentum)
    module.register_parameter("weight", parameters[0])
    module.register_parameter("bias", parameters[1])
    result = build.module(node, module, node.input(0))
    build.norms[same] = str(result.target)
    for i, name in ((3, "running_mean"), (4, "running_var")):
        setattr(module, name, values_of(build.tensors[node.input_names[i]]))
        build.buffers[f"{result.target}.{name}"] = build.origins[node.input_names[i]]
        node.trained.add(i)
    return result


def normalized(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, epsilon: float) -> Tensor:
    """Batch normalization with given statistics, over axis 1."""
    over = (1, -1, *[1] * (x.dim() - 2))
    factor = scale / torch.sqrt(var + epsilon)
    return x * factor.reshape(over) + (bias - mean * factor).reshape(over)


def normalized_by_batch(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, epsilon: float, momentum: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Training mode: normalized by the batch; the running statistics beside it."""
    axes = tuple(i for i in range(x.dim()) if i != 1)
    of_batch = x.mean(axes), x.var(axes, correction=0)
    y = normalized(x, scale, bias, *of_batch, epsilon)
    new_mean, new_var = (old * momentum + new * (1 - momentum) for old, new in zip((mean, var), of_batch, strict=True))
    return y, new_mean, new_var


def layer_normalization(build: Builder, node: Node) -> Any:
    axis, epsilon = node.attribute("axis", -1), node.attribute("epsilon", 1e-5)
    scale, bias = build.read(node, 1), build.read(node, 2) if node.input(2) is not None else None
    if not node.gives(1) and not node.gives(2):
        return build.call(layer_norm, node.input(0), scale, bias, axis, epsilon)
    return build.outputs(build.call(layer_norm_with_statistics, node.input(0), scale, bias, axis, epsilon), 3)


def layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float) -> Tensor:
    """Normalized over the axes from `axis` on."""
    shape = x.shape[axis % x.dim() :]
    if scale.shape == shape and (bias is None or bias.shape == shape):
        return F.layer_norm(x, shape, scale, bias, epsilon)
    y = F.layer_norm(x, shape, None, None, epsilon) * scale
    return y if bias is None else y + bias


def layer_norm_with_statistics(
    x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """With the means and the reciprocal deviations."""
    axes = tuple(range(axis % x.dim(), x.dim()))
    mean = x.mean(axes, keepdim=True)
    deviation = torch.rsqrt(x.var(axes, correction=0, keepdim=True) + epsilon)
    return layer_norm(x, scale, bias, axis, epsilon), mean, deviation


def rms_normalization(build: Builder, node: Node) -> Any:
    axis, epsilon = node.attribute("axis", -1), node.attribute("epsilon", 1e-5)
    return build.call(rms_norm, node.input(0), build.read(node, 1), axis, epsilon)


def rms_norm(x: Tensor, scale: Tensor, axis: int, epsilon: float) -> Tensor:
    """Divided by the root mean square over the axes from `axis` on."""
    axes = tuple(range(axis % x.dim(), x.dim()))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + epsilon) * scale


def instance_normalization(build: Builder, node: Node) -> Any:
    scale, bias = build.read(node, 1), build.read(node, 2)
    return build.call(group_norm, node.input(0), scale, bias, None, node.attribute("epsilon", 1e-5))


def group_normalization(build: Builder, node: Node) -> Any:
    """Before opset 21 scale and bias have one value for each group."""
    scale, bias = build.read(node, 1), build.read(node, 2)
    groups, epsilon = node.attribute("num_groups"), node.attribute("epsilon", 1e-5)
    return build.call(group_norm, node.input(0), scale, bias, groups, epsilon)


def group_norm(x: Tensor, scale: Tensor, bias: Tensor, groups: int | None, epsilon: float) -> Tensor:
    """Normalized over groups of channels (None: each channel alone); scale and bias by channel or by group."""
    channels, groups = x.shape[1], groups or x.shape[1]
    scale, bias = (v.repeat_interleave(channels // v.numel()) for v in (scale, bias))
    seen = x.reshape(x.shape[0], groups, -1)
    y = (seen - seen.mean(-1, keepdim=True)) * torch.rsqrt(seen.var(-1, correction=0, keepdim=True) + epsilon)
    over = (1, -1, *[1] * (x.dim() - 2))
    return y.reshape(x.shape) * scale.reshape(over) + bias.reshape(over)


def lrn(build: Builder, node: Node) -> Any:
    settings = [node.attribute(k, v) for k, v in {"size": None, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}.items()]
    return build.call(local_response_norm, node.input(0), *settings)


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """Divided by a power of the sum of squares over neighbouring channels."""
    before = (size - 1) // 2
    squares = F.pad((x * x).movedim(1, -1), (before, size - 1 - before)).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (bias + alpha / size * squares) ** beta


def lp_normalization(build: Builder, node: Node) -> Any:
    return build.call(lp_norm, node.input(0), node.attribute("axis", -1), node.attribute("p", 2))


def lp_norm(x: Tensor, axis: int, p: int) -> Tensor:
    """Divided by the p-norm along an axis; zeros stay zeros."""
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))


def mean_variance_normalization(build: Builder, node: Node) -> Any:
    return build.call(mean_variance_norm, node.input(0), tuple(node.attribute("axes", [0, 2, 3])))


def mean_variance_norm(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """(x - mean) / deviation over axes."""
    return (x - x.mean(axes, keepdim=True)) / (x.std(axes, correction=0, keepdim=True) + 1e-9)


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}
