"""Units that are one number whatever is fed: what they give goes into the biases of the layers that read them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from pruning.onnx.channels import trace
from pruning.onnx.convert import stored_tensors
from pruning.onnx.labels import Labels, Tracer
from pruning.onnx.names import free, names_of
from pruning.onnx.shrink import matrices_of, reads, zeros
from pruning.onnx.steps import Ids, Mask, Product
from pruning.onnx.tensors import add_tensor, replace_values, set_input
from pruning.onnx.uniform import Numbers, is_even, uniform, weighed

SMALLEST_CARRIER = 1e-3  # of the largest constant that a layer reads: weights on it grow by as much


def move_constants(model: ModelProto, padded: bool = True) -> ModelProto:
    """A copy in which no layer reads a unit that is one number whatever is fed; the same outputs but for rounding.

    Its share goes into the biases of the layers that read it, and their weights on it become zero: shrink finds that
    nothing reads it. Where zeros are padded around it, that is another number at the borders: one such unit is left
    then, on which the weights of all others are gathered.
    Args: padded: whether weights may be gathered so; not where they are to stay on the levels of a quantization.
    """
    tracer = trace(model)
    labels = tracer.found
    live = matrices_of(model, labels)
    zero = zeros(labels, live)
    numbers = uniform(tracer, zero, live)
    readers = list(_readers(tracer, numbers, live, zero))
    result = ModelProto()
    result.CopyFrom(model)
    if not readers:
        return result
    stays = _stays(labels, numbers, zero | ~reads(labels, live, zero))
    carriers = _carriers(readers, stays) if padded else {}
    writer = _Writer(result, tracer.uses)
    for reader in readers:
        if reader.even:
            _move(writer, reader, stays)
        else:
            _gather(writer, reader, stays, carriers)
    writer.insert()
    return result


@dataclass(frozen=True)
class Reader:
    """A layer that reads constants.

    numbers, classes: (in,); gone: (in,), constants that it reads, but for those that shrink finds by itself;
    even: what is padded around does not matter to it.
    """

    node: str
    step: Product
    numbers: Numbers
    classes: Ids
    gone: Mask
    even: bool


def _readers(tracer: Tracer, numbers: Mapping[str, Numbers], live: Mapping[str, Mask], zero: Mask) -> Iterator[Reader]:
    steps = {step.weight: step for step in tracer.found.steps if isinstance(step, Product)}
    classes = tracer.found.classes()
    for node in tracer.model.graph.node:
        step = steps.get(node.input[1]) if len(node.input) > 1 else None
        if step is None or node.input[0] not in numbers:
            continue
        x = numbers[node.input[0]]
        gone = live[step.weight].any(1).reshape(-1) & np.isfinite(x) & ~zero[step.inputs]
        if gone.any():
            even = is_even(node, len(tracer.stored[step.weight].dims))
            yield Reader(node.output[0], step, x, classes[step.inputs], gone, even)


def _stays(labels: Labels, numbers: Mapping[str, Numbers], dead: Mask) -> Mask:
    """(labels,) by class: whether something that goes with it stays, so that moving what it gives gains no unit."""
    classes = labels.classes()
    bound = labels.mask(labels.frozen)
    for name, x in labels.values.items():
        unknown = x.labels[np.isnan(numbers[name])]
        bound[unknown[~dead[unknown]]] = True
    found = np.zeros(labels.count, dtype=bool)
    found[classes[bound]] = True
    return found


def _carriers(readers: Iterable[Reader], stays: Mask) -> dict[int, int]:
    """By class how well it suits as the one that is left: it stays anyway, or can be the same one for many readers."""
    found: Counter[int] = Counter()
    for reader in (r for r in readers if not r.even):
        found.update(np.unique(reader.classes[_suits(reader.numbers)]).tolist())
    return {c: times + (len(stays) + 1) * int(stays[c]) for c, times in found.items()}


def _suits(x: Numbers) -> Mask:
    size = np.abs(np.nan_to_num(x))
    return (size > 0) & (size >= SMALLEST_CARRIER * size.max(initial=0.0))


def _move(writer: "_Writer", reader: Reader, stays: Mask) -> None:
    """Into the bias; a new one only where a unit goes for it."""
    W = writer.weight(reader.step)
    lit = reader.gone & (reader.numbers != 0)
    done = not lit.any()
    if not done and (writer.has_bias(reader.node) or not stays[reader.classes[lit]].all()):
        alpha = writer.attribute(reader.node, "alpha", 1.0)
        share = alpha * weighed(reader.step, W, np.where(lit, reader.numbers, 0.0)).sum(-1).reshape(-1)
        done = writer.add_to_bias(reader.node, share, W.dtype)
    gone = reader.gone if done else reader.gone & ~lit
    if gone.any():
        writer.set_weight(reader.step, np.where(_on(reader.step, gone, W), W.dtype.type(0), W))


def _gather(writer: "_Writer", reader: Reader, stays: Mask, carriers: Mapping[int, int]) -> None:
    """On one of the constants of each group: the ratio of two is the same everywhere."""
    step, W = reader.step, writer.weight(reader.step)
    ratio, chosen = np.zeros(len(step.inputs)), []
    for places in np.arange(len(step.inputs)).reshape(step.groups, -1):
        x, classes = reader.numbers[places], reader.classes[places]
        gone = reader.gone[places] & (x != 0) & ~stays[classes]
        suiting = np.flatnonzero(_suits(x) & np.array([int(c) in carriers for c in classes], dtype=bool))
        if not suiting.size:
            continue
        carrier = max(suiting.tolist(), key=lambda i: (carriers[int(classes[i])], -classes[i], -i))
        gone[carrier] = False
        if gone.any():
            ratio[places[gone]] = x[gone] / x[carrier]
            chosen.append(int(places[carrier]))
    gathered = _gathered(step, W, ratio, chosen)
    gone = (reader.gone & (reader.numbers == 0)) | ((ratio != 0) & (gathered is not None))
    W = W if gathered is None else gathered
    if gone.any():
        writer.set_weight(step, np.where(_on(step, gone, W), W.dtype.type(0), W))


def _gathered(step: Product, W: np.ndarray, ratio: Numbers, chosen: list[int]) -> np.ndarray | None:
    """With the weights on some inputs, times a ratio, added to those on others; None where that is too large."""
    if not chosen:
        return None
    result, added = W.copy(), weighed(step, W, ratio)  # (groups, out / groups, positions)
    rows = result.reshape(step.groups, W.shape[0] // step.groups, W.shape[1], -1)
    rows = rows.swapaxes(1, 2) if step.by_input else rows
    n = len(step.inputs) // step.groups
    with np.errstate(over="ignore"):
        for place in chosen:
            group, i = divmod(place, n)
            rows[group, :, i] = rows[group, :, i].astype(np.float64) + added[group]
    return result if np.isfinite(result).all() else None


def _on(step: Product, inputs: Mask, W: np.ndarray) -> Mask:
    return step.spread(np.broadcast_to(inputs.reshape(step.groups, 1, -1), _matrix(step, W)), W)


def _matrix(step: Product, W: np.ndarray) -> tuple[int, int, int]:
    rows, columns = W.shape[0] // step.groups, W.shape[1]
    return (step.groups, columns, rows) if step.by_input else (step.groups, rows, columns)


class _Writer:
    """Changes the weights and biases of a model; nodes go by their first output."""

    def __init__(self, model: ModelProto, uses: Mapping[str, int]) -> None:
        self.model, self.uses = model, uses
        self.tensors = stored_tensors(model)
        self.nodes = {node.output[0]: node for node in model.graph.node if node.output}
        self.readers = {name: node for node in model.graph.node for name in node.input}
        self.taken = names_of(model)
        self.behind: dict[str, NodeProto] = {}

    def weight(self, step: Product) -> np.ndarray:
        """As it is now."""
        return numpy_helper.to_array(self.tensors[step.weight])

    def set_weight(self, step: Product, W: np.ndarray) -> None:
        """Of the same shape and type."""
        replace_values(self.tensors[step.weight], W)

    def attribute(self, node: str, name: str, default: float) -> float:
        """A number of a node."""
        return next((a.f for a in self.nodes[node].attribute if a.name == name), default)

    def has_bias(self, name: str) -> bool:
        """Whether a layer's node has one by now."""
        node, place = self._biased(self.nodes[name])
        return len(node.input) > place and bool(node.input[place])

    def add_to_bias(self, name: str, share: Numbers, dtype: np.dtype) -> bool:
        """Returns: whether it could be done: not where it is too large. Args: name: a layer's; share: (out,)."""
        node, place = self._biased(self.nodes[name])
        before = self._input(node, place).astype(np.float64) if self.has_bias(name) else np.zeros(1)
        with np.errstate(over="ignore"):
            values = (self.attribute(node.output[0], "beta", 1.0) * before + share).astype(dtype)
        if not np.isfinite(values.astype(np.float64)).all():
            return False
        for attribute in (a for a in node.attribute if a.name == "beta"):
            attribute.f = 1.0
        if node.op_type == "MatMul":
            self._add_behind(node, values)
        else:
            self._set_input(node, place, values)
        return True

    def _biased(self, node: NodeProto) -> tuple[NodeProto, int]:
        """The node that reads a layer's bias, and which of its inputs that is."""
        if node.op_type != "MatMul":
            return node, 2
        return self._bias_behind(node, self.tensors[node.input[1]].dims[-1]) or (node, 2)

    def _bias_behind(self, node: NodeProto, n: int) -> tuple[NodeProto, int] | None:
        """The Add that reads a MatMul and a stored tensor."""
        after = self.readers.get(node.output[0])
        if after is None or after.op_type != "Add" or self.uses[node.output[0]] != 1:
            return None
        place = 1 - list(after.input).index(node.output[0])
        stored = self.tensors.get(after.input[place])
        fits = stored is not None and (list(stored.dims) in ([], [1]) or list(stored.dims[-1:]) == [n])
        return (after, place) if fits else None

    def _add_behind(self, node: NodeProto, values: np.ndarray) -> None:
        inner = free(node.output[0] + "_unbiased", self.taken)
        bias = self._store(node.input[1].removesuffix(".weight") + ".bias", values)
        self.behind[inner] = helper.make_node(
            "Add", [inner, bias], [node.output[0]], free(node.name + "_bias", self.taken)
        )
        node.output[0] = inner

    def insert(self) -> None:
        """What was added behind nodes, in the graph's order."""
        for place in reversed(range(len(self.model.graph.node))):
            added = self.behind.get(self.model.graph.node[place].output[0])
            if added is not None:
                self.model.graph.node.insert(place + 1, added)

    def _set_input(self, node: NodeProto, place: int, values: np.ndarray) -> None:
        """A stored tensor that no other node reads, of the same name where it is one already."""
        name = node.input[place] if len(node.input) > place else ""
        if name and self.uses[name] == 1 and tuple(self.tensors[name].dims) == values.shape:
            replace_values(self.tensors[name], values)
            return
        set_input(node, place, self._store(node.input[1].removesuffix(".weight") + ".bias", values))

    def _input(self, node: NodeProto, place: int) -> np.ndarray:
        return numpy_helper.to_array(self.tensors[node.input[place]])

    def _store(self, name: str, values: np.ndarray) -> str:
        name = add_tensor(self.model, name, values, self.taken)
        self.tensors[name] = self.model.graph.initializer[-1]
        return name
