"""Numbers that count channels in the inputs of nodes, changed with them: targets of Reshape, bounds, sizes of parts."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from pruning.onnx.blocks import Blocks, Ids
from pruning.onnx.convert import stored_tensors
from pruning.onnx.graphs import graphs_of


def renumber(model: ModelProto, found: Blocks, kept: np.ndarray) -> None:
    """In place: what a node reads is replaced for it alone if it is stored, and scaled if it is computed.

    Args: kept: (labels,) True for those that stay.
    """
    stored, nodes = stored_tensors(model), {node.output[0]: node for node in model.graph.node if node.output}
    made: dict[tuple[str, bytes, bytes], str] = {}
    added: dict[str, list[NodeProto]] = {}
    for (output, place), counts in found.numbers.items():
        before, now = _counted(counts, np.ones_like(kept)), _counted(counts, kept)
        name = nodes[output].input[place]
        key = name, before.tobytes(), now.tobytes()
        if (before == now).all():
            continue
        if key not in made:
            values = numpy_helper.to_array(stored[name]) if name in stored else None
            made[key] = _free(model, f"{name}__{len(made) + 1}")
            added.setdefault(output, []).extend(_nodes(name, values, before, now, made[key]))
        nodes[output].input[place] = made[key]
    _put(model, added)
    _remove_unread(model, {name for name, _, _ in made})


def _counted(counts: Sequence[Ids | None], kept: np.ndarray) -> np.ndarray:
    """How many are left; 1 for a number that stays as it is."""
    return np.array([1 if n is None or not n.size else kept[n].any(1).sum() for n in counts], dtype=np.int64)


def _nodes(name: str, values: np.ndarray | None, before: np.ndarray, now: np.ndarray, result: str) -> list[NodeProto]:
    """Numbers are multiples of what they count. Args: values: None where they are known only at run time."""
    if values is not None:
        return [_constant(result, values * now // before)]
    factor, divisor, product = (f"{result}_{what}" for what in ("factor", "divisor", "product"))
    return [
        _constant(factor, now),
        _constant(divisor, before),
        helper.make_node("Mul", [name, factor], [product], product),
        helper.make_node("Div", [product, divisor], [result], result),
    ]


def _constant(name: str, values: np.ndarray) -> NodeProto:
    return helper.make_node("Constant", [], [name], name, value=numpy_helper.from_array(values, name))


def _free(model: ModelProto, name: str) -> str:
    """No value is called like this, nor begins with it."""
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node]
    while any(other.startswith(name) for node in nodes for other in (*node.input, *node.output)):
        name += "_"
    return name


def _put(model: ModelProto, added: dict[str, list[NodeProto]]) -> None:
    """Before the nodes with these outputs."""
    nodes = [n for node in model.graph.node for n in (*added.get(node.output[0] if node.output else "", ()), node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _remove_unread(model: ModelProto, names: set[str]) -> None:
    read = Counter(name for graph in graphs_of(model.graph) for node in graph.node for name in node.input)
    unread = {name for name in names if not read[name]} - {port.name for port in model.graph.output}
    for i in reversed([i for i, t in enumerate(model.graph.initializer) if t.name in unread]):
        del model.graph.initializer[i]
    for i in reversed([i for i, port in enumerate(model.graph.input) if port.name in unread]):
        del model.graph.input[i]
    nodes = [node for node in model.graph.node if node.op_type != "Constant" or node.output[0] not in unread]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
