"""A Gather of channels done once, on the weights of the layer that makes them, and not on every image."""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pruning.onnx.columns import add, names, uses
from pruning.onnx.convert import stored_tensors
from pruning.onnx.vet import STANDARD

EACH_ALONE = set(  # from each channel of its first input one of its output, and reads nothing else
    "Abs AveragePool Celu Clip Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu LpPool MaxPool Mish Neg Relu Selu"
    " Sigmoid Softplus Softsign Sqrt Tanh ThresholdedRelu".split()
)


def move_gathers(model: ModelProto) -> ModelProto:
    """A copy in which convolutions give their channels as often, and in that order, as the Gather behind them picks.

    Between the two may stand what works channel by channel and has no other reader. The stored weight stays as it is:
    a Gather of its filters stands before it, which ONNX Runtime computes as it loads the file. A channel that is
    picked twice is computed twice, so that this need not be faster.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph, stored, count, taken = result.graph, stored_tensors(result), uses(result), names(result)
    made = {name: node for node in graph.node for name in node.output}
    gone, before = dict[str, str](), dict[str, list[NodeProto]]()
    changed: set[str] = set()
    for node in graph.node:
        if not _picks_channels(node, stored):
            continue
        path = _up(node.input[0], made, count)
        conv = path[-1] if path else None
        if conv is None or not _can_double(conv, stored, count) or conv.output[0] in before:
            continue
        before[conv.output[0]] = _doubled(conv, node.input[1], taken)
        gone[node.output[0]] = node.input[0]
        changed |= {n.output[0] for n in path}
    return _without(result, gone, before, changed)


def _picks_channels(node: NodeProto, stored: Mapping[str, TensorProto]) -> bool:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    if node.op_type != "Gather" or node.domain not in STANDARD or axis != 1 or node.input[1] not in stored:
        return False
    indices = numpy_helper.to_array(stored[node.input[1]])
    return indices.ndim == 1 and bool((indices >= 0).all())


def _up(name: str, made: Mapping[str, NodeProto], count: Mapping[str, int]) -> list[NodeProto]:
    """From what makes a value up to the convolution before it; empty where there is none."""
    path = []
    while name in made and count[name] == 1:
        node = made[name]
        path.append(node)
        if node.op_type == "Conv" and node.domain in STANDARD:
            return path
        if node.op_type not in EACH_ALONE or node.domain not in STANDARD or any(node.output[1:]):
            return []
        name = node.input[0]
    return []


def _can_double(conv: NodeProto, stored: Mapping[str, TensorProto], count: Mapping[str, int]) -> bool:
    """Its filters can be picked one by one: it has no groups, and its tensors are stored, and its own."""
    groups = next((a.i for a in conv.attribute if a.name == "group"), 1)
    return groups == 1 and all(name in stored and count[name] == 1 for name in conv.input[1:] if name)


def _doubled(conv: NodeProto, indices: str, taken: set[str]) -> list[NodeProto]:
    """Gathers of its weight and bias; it reads them from now on."""
    added = []
    for i, name in enumerate(conv.input):
        if i and name:
            output = f"{name}.picked"
            while output in taken:
                output += "_"
            taken.add(output)
            added.append(helper.make_node("Gather", [name, indices], [output], output, axis=0))
            conv.input[i] = output
    return added


def _without(
    model: ModelProto, gone: Mapping[str, str], before: Mapping[str, list[NodeProto]], changed: set[str]
) -> ModelProto:
    nodes = []
    for node in model.graph.node:
        if node.output[0] in gone:
            continue
        for i, name in enumerate(node.input):
            node.input[i] = gone.get(name, name)
        nodes += [*before.get(node.output[0], []), node]
    last = len(model.graph.node)
    model.graph.node.extend(nodes)
    del model.graph.node[:last]
    described = [value for value in model.graph.value_info if value.name not in changed and value.name not in gone]
    del model.graph.value_info[:]
    model.graph.value_info.extend(described)
    return model
