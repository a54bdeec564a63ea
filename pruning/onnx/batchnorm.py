"""BatchNormalization where an exporter folded it away: put back as the identity, trained, folded again.

A net that was trained with BatchNormalization learns badly without it. What is inserted computes nothing at first:
its scale and bias undo what its statistics do.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from pruning.onnx.network import Network
from pruning.onnx.ops.normalization import BatchNorm, group_norm, layer_norm, local_response_norm, rms_norm
from pruning.processes import Group

OTHER_NORMS = (group_norm, layer_norm, local_response_norm, rms_norm)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def is_folded(network: Network) -> bool:
    """Whether convolutions with biases and no BatchNormalization anywhere look as if it had been folded into them.

    A net of less than four such convolutions is likely to have been trained without.
    """
    modules = list(network.module.modules())
    normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in modules)
    assert isinstance(network.module, fx.GraphModule)
    normed = normed or any(node.target in OTHER_NORMS for node in network.module.graph.nodes)
    return not normed and len(list(_places(network))) >= 4


@torch.no_grad()
def insert(network: Network, batches: Iterable[Mapping[str, Tensor]]) -> None:
    """A BatchNorm behind every convolution with a bias, calibrated on these batches so that no output changes.

    The convolution's own bias is taken over by the BatchNorm's, which stands for it in network.biases.
    """
    module = network.module
    assert isinstance(module, fx.GraphModule)
    found = _statistics(network, batches)
    for node in list(_places(network)):
        conv, name = module.get_submodule(str(node.target)), f"{node.target}_bn"
        if str(node.target) not in found:
            continue
        mean, var = found[str(node.target)]
        module.add_submodule(name, _identity(conv, mean, var))
        with module.graph.inserting_after(node):
            normed = module.graph.call_module(name, (node,))
        node.replace_all_uses_with(normed, delete_user_cb=lambda user, n=normed: user is not n)
        network.inserted[str(node.target)] = name
    module.recompile()
    taken = {f"{conv}.bias": f"{bn}.bias" for conv, bn in network.inserted.items()}
    network.biases.update((layer, taken[bias]) for layer, bias in network.biases.items() if bias in taken)


@torch.no_grad()
def fold(network: Network) -> None:
    """What was inserted into the convolutions before it: the same outputs in evaluation mode, and zeros stay zeros."""
    module = network.module
    assert isinstance(module, fx.GraphModule)
    for target, name in network.inserted.items():
        conv, normed = module.get_submodule(target), module.get_submodule(name)
        assert isinstance(conv, CONVOLUTIONS) and isinstance(normed, BatchNorm) and conv.bias is not None
        assert normed.running_mean is not None and normed.running_var is not None
        scale = normed.weight / torch.sqrt(normed.running_var + normed.eps)
        conv.weight.mul_(scale.reshape(-1, *[1] * (conv.weight.dim() - 1)))
        conv.bias.copy_(normed.bias - normed.running_mean * scale)
        node = next(n for n in module.graph.nodes if n.op == "call_module" and n.target == name)
        node.replace_all_uses_with(node.args[0])
        module.graph.erase_node(node)
        module.delete_submodule(name)
    module.recompile()
    given = {f"{bn}.bias": f"{conv}.bias" for conv, bn in network.inserted.items()}
    network.biases.update((layer, given[bias]) for layer, bias in network.biases.items() if bias in given)
    network.inserted.clear()


def together(network: Network, group: Group) -> Network:
    """The network as it is to be called to train: statistics and gradients are those of the whole group's batch."""
    if group.size == 1:
        return network
    for module in network.module.modules():
        if isinstance(module, BatchNorm):
            module.group = group
    return replace(network, module=group.parallel(network.module))


def _places(network: Network) -> Iterator[fx.Node]:
    """Convolutions with a bias of their own, used once, whose layer may be trained."""
    module = network.module
    assert isinstance(module, fx.GraphModule)
    readers = Counter(id(p) for m in module.modules() for p in m.parameters(recurse=False))
    read = {str(n.target) for n in module.graph.nodes if n.op == "get_attr"}
    for node in (n for n in module.graph.nodes if n.op == "call_module"):
        conv, names = module.get_submodule(str(node.target)), {f"{node.target}.weight", f"{node.target}.bias"}
        if not isinstance(conv, CONVOLUTIONS) or conv.bias is None or not names <= set(network.sources):
            continue
        if readers[id(conv.weight)] == readers[id(conv.bias)] == 1 and not names & read:
            yield node


def _statistics(network: Network, batches: Iterable[Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each convolution's output by channel, over all examples and positions."""
    sums: dict[str, Tensor] = {}

    def add(target: str, y: Any) -> None:
        if y[0, 0].numel() == 1:
            return  # one value a channel in a pass of one example has no statistics
        axes = [axis for axis in range(y.dim()) if axis != 1]
        var, mean = torch.var_mean(y, axes, correction=0)
        count = y.numel() // y.shape[1]
        part = torch.stack([torch.full_like(mean, count), mean * count, (var + mean * mean) * count]).double()
        sums[target] = sums.get(target, torch.zeros_like(part)) + part

    targets = [str(node.target) for node in _places(network)]
    modules = {t: network.module.get_submodule(t) for t in targets}
    hooks = [m.register_forward_hook(lambda _m, _x, y, t=t: add(t, y)) for t, m in modules.items()]
    network.module.eval()
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    return {t: (s[1] / s[0], (s[2] / s[0] - (s[1] / s[0]) ** 2).clamp_min(0)) for t, s in sums.items()}


def _identity(conv: nn.Module, mean: Tensor, var: Tensor) -> BatchNorm:
    """What leaves the output of a convolution as it is, and takes its bias over."""
    assert isinstance(conv, CONVOLUTIONS) and conv.bias is not None
    normed = BatchNorm(len(mean), device=conv.bias.device, dtype=conv.bias.dtype)
    bias = conv.bias.clone()
    normed.running_mean, normed.running_var = (mean - bias).to(bias.dtype), var.to(bias.dtype)
    normed.weight.copy_(torch.sqrt(normed.running_var + normed.eps))
    normed.bias.copy_(mean)
    conv.bias.zero_()
    conv.bias.requires_grad_(False)  # a BatchNorm takes any bias away again
    return normed
