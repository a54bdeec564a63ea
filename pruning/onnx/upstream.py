"""A Gather of channels done once, on the weights of the layer that makes them, and not on every image."""

from collections.abc import Mapping

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pruning.onnx.convert import stored_tensors
from pruning.onnx.names import free, names_of
from pruning.onnx.tensors import uses
from pruning.onnx.vet import STANDARD

# from each channel of its first input one of its output, and nothing else is read
EACH_ALONE = {"Abs", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"}
EACH_ALONE |= {"Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"}
EACH_ALONE |= {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool"}
MOST = 1.25  # times as many filters as before: more cost more than the Gather does


def move_gathers(model: ModelProto) -> ModelProto:
    """A copy in which convolutions give their channels as often, and in that order, as the Gather behind them picks.

    Between the two may stand what works channel by channel and has no other reader. The stored weight stays as it is:
    a Gather of its filters stands before it, which ONNX Runtime computes as it loads the file. A channel that is
    picked twice is computed twice; where that would make many more of them, nothing changes.
    Returns: the model itself where there is none to move.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph, stored, count, taken = result.graph, stored_tensors(result), uses(result), names_of(result)
    made = {name: node for node in graph.node for name in node.output}
    added, changed, gone = dict[str, list[NodeProto]](), set[str](), set[int]()
    for place, node in enumerate(graph.node):
        path = _up(node.input[0], made, count) if _picks_channels(node, stored) else []
        if not path or not _may_double(path[-1], stored[node.input[1]].dims[0], stored, count):
            continue
        picks = _doubled(path[-1], node.input[1], taken)
        added[path[-1].input[1]] = picks
        changed |= {n.output[0] for n in path}
        path[0].output[0], made[node.output[0]] = node.output[0], path[0]
        gone.add(place)
    if not gone:
        return model
    last = len(graph.node)
    for node in [node for place, node in enumerate(graph.node) if place not in gone]:
        graph.node.extend([*(added.get(node.input[1], []) if len(node.input) > 1 else []), node])
    del graph.node[:last]
    described = [value for value in graph.value_info if value.name not in changed]
    del graph.value_info[:]
    graph.value_info.extend(described)
    return result


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


def _may_double(conv: NodeProto, picks: int, stored: Mapping[str, TensorProto], count: Mapping[str, int]) -> bool:
    """Its filters can be picked one by one: it has no groups, and its tensors are stored, and its own."""
    groups = next((a.i for a in conv.attribute if a.name == "group"), 1)
    own = all(name in stored and count[name] == 1 for name in conv.input[1:] if name)
    return groups == 1 and own and picks <= MOST * stored[conv.input[1]].dims[0]


def _doubled(conv: NodeProto, indices: str, taken: set[str]) -> list[NodeProto]:
    """Gathers of its weight and bias; it reads them from now on."""
    added = []
    for i, name in enumerate(conv.input):
        if i and name:
            output = free(f"{name}.picked", taken)
            added.append(helper.make_node("Gather", [name, indices], [output], output, axis=0))
            conv.input[i] = output
    return added
