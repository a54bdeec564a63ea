"""Numbers of channels that a graph finds out at run time: whether what reads them follows when channels go."""

from collections import defaultdict

import numpy as np
from onnx import NodeProto

from pruning.onnx.labels import CHANNELS, MOST, Tracer
from pruning.onnx.steps import Ids

SHAPED = {"Reshape": 1, "Resize": 3}  # the input that says how large the output is
CARRIED = {"Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"}


def settle(t: Tracer) -> None:
    """Channels that are counted at run time stay, unless all that reads the number has as many of the same."""
    shapes = [n for n in t.model.graph.node if n.op_type == "Shape" and n.input[0] in t.found.values]
    shapes = [n for n in shapes if t.uses[n.output[0]] and _tells(t, n.output[0])]
    if not shapes:
        return
    walk, classes = _Walk(t), t.found.classes()
    for node in shapes:
        labels = t.found.values[node.input[0]].labels
        followers = walk.followers(node.output[0], len(labels))
        if followers is None or not all(np.array_equal(classes[labels], classes[found]) for found in followers):
            t.freeze(labels)
            for counted in t.found.adapting:
                t.freeze(counted)
            t.found.adapting.clear()


def _tells(t: Tracer, name: str) -> bool:
    """Whether a number of channels may be in it."""
    return name not in t.constants or bool((t.constants[name] == CHANNELS).any())


class _Walk:
    """From numbers to what they shape. room: labels that may be looked at, as a small file may ask for any number."""

    def __init__(self, t: Tracer) -> None:
        self.t, self.room = t, MOST
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in t.model.graph.node:
            for name in {*node.input}:
                self.readers[name].append(node)

    def followers(self, name: str, count: int) -> list[Ids] | None:
        """Labels of all that is as large as a number says; None where something else reads it."""
        waiting, seen, found = [name], {name}, []
        while waiting:
            name = waiting.pop()
            self.room -= count + len(self.readers[name])
            if self.room < 0 or sum(list(n.input).count(name) for n in self.readers[name]) != self.t.uses[name]:
                return None
            for node in self.readers[name]:
                if self._is_shaped_by(node, name):
                    found.append(self.t.found.values[node.output[0]].labels)
                elif node.op_type not in CARRIED or node.output[0] not in self.t.constants:
                    return None
                elif _tells(self.t, node.output[0]) and node.output[0] not in seen:
                    seen.add(node.output[0])
                    waiting.append(node.output[0])
        return found

    def _is_shaped_by(self, node: NodeProto, name: str) -> bool:
        place = SHAPED.get(node.op_type, -1)
        return node.output[0] in self.t.found.values and [i for i, n in enumerate(node.input) if n == name] == [place]
