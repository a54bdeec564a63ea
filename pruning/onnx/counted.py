"""Numbers of channels that a graph finds out at run time: whether what reads them follows when channels go."""

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from pruning.onnx.labels import CHANNELS, Ids, Tracer

SHAPED = {"Reshape": 1, "Resize": 3}  # the input that says how large the output is
CARRIED = {"Cast", "Concat", "Identity", "Reshape", "Squeeze", "Unsqueeze"}


def settle(t: Tracer) -> None:
    """Channels that are counted at run time stay, unless all that reads the number has as many of the same."""
    nodes = t.model.graph.node
    shapes = [n for n in nodes if n.op_type == "Shape" and n.input[0] in t.found.values and t.uses[n.output[0]]]
    read = [n for n in shapes if not _leaves_channels(t, n.output[0])]
    if not read:
        return
    classes = t.found.classes()
    for node in read:
        labels = t.found.values[node.input[0]].labels
        if not all(np.array_equal(classes[labels], classes[follows]) for follows in _followers(t, node.output[0])):
            t.freeze(labels)
            for counted in t.found.adapting:
                t.freeze(counted)


def _leaves_channels(t: Tracer, name: str) -> bool:
    """Whether a number of channels is not in it, or only other numbers are picked out of it."""
    if name not in t.constants:
        return False
    if not (t.constants[name] == CHANNELS).any():
        return True
    picks = [n for n in t.model.graph.node if n.op_type in ("Gather", "Slice") and n.input[0] == name]
    return len(picks) == t.uses[name] and all(_leaves_channels(t, n.output[0]) for n in picks)


def _followers(t: Tracer, name: str) -> Iterator[Ids]:
    """Labels of what is as large as a number says; none, which nothing equals, where something else reads it."""
    readers = [n for n in t.model.graph.node if name in n.input]
    if sum(list(n.input).count(name) for n in readers) != t.uses[name]:
        yield np.empty(0, dtype=np.int64)
    for node in readers:
        if _leaves_channels(t, node.output[0]):
            continue
        if _is_shaped_by(t, node, name):
            yield t.found.values[node.output[0]].labels
        elif node.output[0] in t.constants and (node.op_type in CARRIED or node.op_type in ("Gather", "Slice")):
            yield from _followers(t, node.output[0])
        else:
            yield np.empty(0, dtype=np.int64)


def _is_shaped_by(t: Tracer, node: NodeProto, name: str) -> bool:
    place = SHAPED.get(node.op_type)
    is_read = place is not None and len(node.input) > place and list(node.input).index(name) == place
    return is_read and node.output[0] in t.found.values
