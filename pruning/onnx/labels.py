"""Labels for the channels of a graph's values: which are one, which must go together, and which must stay.

Every value that a layer makes, and what is computed from it channel by channel, carries a label for each index of its
channel axis. Values share labels where one is zero exactly where the other is; a label of one value is tied to that of
another where neither can be removed alone; and an operator that has no rule freezes what it reads.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from pruning.onnx.blocks import Blocks
from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import FLOATS
from pruning.onnx.graphs import graphs_of
from pruning.onnx.normalise import OLDEST_CONVERTED
from pruning.onnx.shapes import LARGEST, SYMBOL, folded, is_symbol, shapes_of
from pruning.onnx.steps import Each, Gate, Ids, Mask, Product
from pruning.onnx.tensors import uses
from pruning.onnx.vet import STANDARD, opset_of

CHANNELS = 2 * SYMBOL + 1  # in a known shape: the number of channels, which may change
OUTPUT = "the output"
MOST = 2**24  # labels of all values together: a small file may ask for any number


class Unknown(Exception):
    """This form of an operator has no rule."""


@dataclass(frozen=True)
class Channels:
    """Labels of a value. axis: counted from the end, -1 is the last; labels: one for each index along it."""

    axis: int
    labels: Ids


@dataclass(frozen=True)
class Counts:
    """Numbers that a node reads, of which some count labels.

    node: its first output; source: the input, or the attribute, whether it is there by now or not;
    labels: those counted, by place.
    """

    node: str
    source: int | str
    numbers: Ids
    labels: dict[int, Ids]


@dataclass
class Labels:
    """What is known of a graph's channels.

    steps: in the graph's order; axes: labels along axes of stored tensors; lengths: numbers that count labels;
    groups: depthwise convolutions by their output; ties: pairs that go together;
    zeros: labels that are zero whatever is fed; frozen: those that stay; read: those that something else reads;
    parts: labels of which at least one stays; adapting: labels that a node counts by itself; blocks: values with labels
    along several axes.
    """

    values: dict[str, Channels] = field(default_factory=dict)
    steps: list[Product | Each | Gate] = field(default_factory=list)
    axes: dict[str, dict[int, Ids]] = field(default_factory=dict)
    lengths: list[Counts] = field(default_factory=list)
    groups: dict[str, Ids] = field(default_factory=dict)
    ties: list[tuple[Ids, Ids]] = field(default_factory=list)
    zeros: list[Ids] = field(default_factory=list)
    frozen: list[Ids] = field(default_factory=list)
    read: list[Ids] = field(default_factory=list)
    parts: list[Ids] = field(default_factory=list)
    adapting: list[Ids] = field(default_factory=list)
    blocks: Blocks = field(default_factory=Blocks)
    count: int = 0

    def mask(self, of: Iterable[Ids]) -> Mask:
        """(labels,) True for those named."""
        found = np.zeros(self.count, dtype=bool)
        for labels in of:
            found[labels] = True
        return found

    def classes(self) -> Ids:
        """(labels,) the same number for labels that go together: the least of them."""
        parent = list(range(self.count))

        def root(i: int) -> int:
            while parent[i] != i:
                parent[i] = i = parent[parent[i]]
            return i

        for left, right in self.ties:
            for a, b in zip(left.tolist(), right.tolist(), strict=True):
                low, high = sorted((root(a), root(b)))
                parent[high] = low
        return np.array([root(i) for i in range(self.count)], dtype=np.int64)


class Tracer:
    """What is known while walking through a graph in its order, and what rules say about their operators."""

    def __init__(self, model: ModelProto) -> None:
        self.model, self.found, self.room = model, Labels(), MOST
        self.stopped: list[tuple[str, Ids]] = []  # what keeps channels: an operator, or OUTPUT
        self.opset, self.shapes = opset_of(model), shapes_of(model)
        self.stored = stored_tensors(model)
        small = {k: t for k, t in self.stored.items() if math.prod(t.dims) <= LARGEST}
        self.constants = {k: numpy_helper.to_array(t) for k, t in small.items()}
        self.uses = uses(model)

    def attribute(self, node: NodeProto, name: str, default: Any = None) -> Any:
        """Of a node."""
        return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)

    def channels(self, name: str) -> Channels:
        """Raises: Unknown: the value has no labels."""
        if name not in self.found.values:
            raise Unknown
        return self.found.values[name]

    def rank(self, name: str) -> int:
        """Axes of a value."""
        if name not in self.shapes:
            raise Unknown
        return len(self.shapes[name])

    def images(self, name: str) -> Channels:
        """A value whose channels are on axis 1."""
        x = self.channels(name)
        if x.axis != 1 - self.rank(name):
            raise Unknown
        return x

    def reads(self, name: str, axis: int, count: int) -> Ids:
        """Labels of what a layer reads; new ones that stay where the value has none."""
        if name in self.found.values:
            x = self.found.values[name]
            if x.axis != axis or len(x.labels) != count:
                raise Unknown
            return x.labels
        return self.freeze(self.fresh(count))

    def constant(self, name: str) -> np.ndarray:
        """A small tensor that is known."""
        if name not in self.constants:
            raise Unknown
        return self.constants[name]

    def option(self, node: NodeProto, place: int, name: str) -> np.ndarray | None:
        """What newer operator sets have as an input and older ones as an attribute; None where there is neither."""
        if len(node.input) > place and node.input[place]:
            return self.constant(node.input[place])
        given = self.attribute(node, name)
        return None if given is None else np.atleast_1d(given)

    def source(self, node: NodeProto, place: int, name: str) -> int | str:
        """Where a node has numbers: the input of newer operator sets, or the attribute of older ones."""
        return place if len(node.input) > place and node.input[place] else name

    def form(self, name: str) -> tuple[int, ...]:
        """Of a stored tensor that may be cut: it is read in one place alone."""
        if name not in self.stored or self.uses[name] != 1 or self.stored[name].data_type not in FLOATS:
            raise Unknown
        return tuple(self.stored[name].dims)

    def parameter(self, name: str) -> np.ndarray:
        """Values of a stored tensor that may be cut."""
        self.form(name)
        return numpy_helper.to_array(self.stored[name])

    def along(self, name: str, x: Channels) -> np.ndarray:
        """(channels, rest) what each channel meets in a stored tensor that is broadcast to it; its axis is labelled."""
        n = len(x.labels)
        values = numpy_helper.to_array(self.stored[name]) if name in self.stored else self.constant(name)
        axis = values.ndim + x.axis
        if axis < 0 or values.shape[axis] == 1:
            return np.broadcast_to(values.reshape(1, -1), (n, values.size))
        if values.shape[axis] != n:
            raise Unknown
        self.form(name)
        self.found.axes[name] = {axis: x.labels}
        return np.moveaxis(values, axis, 0).reshape(n, -1)

    def fresh(self, count: int) -> Ids:
        """Labels that no value has yet."""
        if self.found.count + count > MOST:
            raise Unknown
        self.found.count += count
        return np.arange(self.found.count - count, self.found.count)

    def freeze(self, labels: Ids) -> Ids:
        """They stay."""
        self.found.frozen.append(labels)
        return labels

    def tie(self, left: Ids, right: Ids) -> None:
        """They go or stay together, one by one."""
        self.found.ties.append((left, right))

    def mapped(self, x: Channels, passes: Mask | bool, rests: Mask | bool, may_rest: bool = True) -> Channels:
        """A value made channel by channel of one."""
        y = self.fresh(len(x.labels))
        to = y.shape
        self.found.steps.append(Each((x.labels,), y, np.broadcast_to(passes, to), np.broadcast_to(rests, to), may_rest))
        self.tie(x.labels, y)
        return Channels(x.axis, y)

    def joined(self, xs: Sequence[Channels], gate: bool = False) -> Channels:
        """A value made channel by channel of several: zero where all are, or where any is."""
        first, n = xs[0], len(xs[0].labels)
        if any(x.axis != first.axis or len(x.labels) != n for x in xs):
            raise Unknown
        y, always = self.fresh(n), np.ones(n, dtype=bool)
        labels = tuple(x.labels for x in xs)
        self.found.steps.append(Gate(labels, y) if gate else Each(labels, y, always, always))
        for x in labels:
            self.tie(x, y)
        return Channels(first.axis, y)

    def counts(self, node: NodeProto, source: int | str, numbers: np.ndarray, labels: dict[int, Ids]) -> None:
        """Numbers as large as there are labels, by place; these stay where others are known only at run time."""
        if is_symbol(numbers).any() or (numbers == CHANNELS).any():
            for counted in labels.values():
                self.freeze(counted)
        else:
            self.found.lengths.append(Counts(node.output[0], source, numbers, labels))

    def stop(self, names: Iterable[str], by: str) -> None:
        """Something reads these values that no rule is known for."""
        names = {*names}
        plain = [self.found.values[name].labels for name in names & self.found.values.keys()]
        blocks = [self.found.blocks.values[name].labels.reshape(-1) for name in names & self.found.blocks.values.keys()]
        for labels in (*plain, *blocks):
            self.found.read.append(self.freeze(labels))
            self.stopped.append((by, labels))

    def follow(self, node: NodeProto, rules: "Mapping[str, Rule]") -> None:
        """Labels of what a node gives; without a rule it freezes what it reads."""
        if node.domain in STANDARD and (known := folded(self.model, node, self.constants)) is not None:
            self.constants.update(zip(node.output, known, strict=False))
            return
        before = self.found.count
        try:
            if node.op_type not in rules or node.domain not in STANDARD or self.opset < OLDEST_CONVERTED:
                raise Unknown
            results = rules[node.op_type](self, node)
            self.room -= sum(len(x.labels) for x in results)
            if self.room < 0:
                raise Unknown
            self.found.values.update(zip(node.output, results, strict=False))
        except Exception:  # noqa: BLE001  # Unknown, or a form that nobody thought of
            half_made = np.arange(before, self.found.count)
            self.found.read.append(self.freeze(half_made))
            inner = [graph for a in node.attribute if a.HasField("g") for graph in graphs_of(a.g)]
            nodes = (node, *(n for graph in inner for n in graph.node))
            read = [*(name for n in nodes for name in n.input), *(p.name for graph in inner for p in graph.output)]
            self.stop(read, node.op_type)

    def adapts(self, labels: Ids) -> None:
        """A node reads at run time how many of these there are: pruning.onnx.counted sees whether that follows them."""
        self.found.adapting.append(labels)

    def finish(self) -> None:
        """What leaves the graph stays."""
        self.stop((port.name for port in self.model.graph.output), OUTPUT)


Rule = Callable[[Tracer, NodeProto], Sequence[Channels]]
