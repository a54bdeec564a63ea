"""Filters and neurons that no output depends on: found, and taken out of the graph."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from pruning.onnx.channels import label, trace
from pruning.onnx.convert import stored_tensors
from pruning.onnx.labels import Labels, Tracer
from pruning.onnx.names import names_of
from pruning.onnx.renumber import renumber
from pruning.onnx.steps import Each, Gate, Ids, Mask, Product
from pruning.onnx.tensors import add_tensor, put, replace_values, set_input


def readers(model: ModelProto) -> dict[str, dict[str, int]]:
    """By weight tensor of a layer: the weight tensors that read its filters, and how many of their inputs each feeds.

    Empty where filters cannot be removed by making them zero: they are added to others, go through a depthwise
    convolution or Sigmoid, leave the graph, meet an operator that has no rule, or do not all feed equally many inputs.
    """
    labels = label(model)
    classes, products = labels.classes(), _products(labels)
    stays = set(classes[labels.mask(labels.frozen)].tolist())
    made = Counter(classes[np.concatenate([p.outputs for p in products])].tolist()) if products else Counter()
    zero = zeros(labels, matrices_of(model, labels), cleared=True)
    lit = set(classes[np.concatenate([p.inputs[~zero[p.inputs]] for p in products])].tolist()) if products else set()
    single = {c for c, times in made.items() if times == 1} - stays - lit
    fed = {p.weight: np.unique(classes[p.inputs], return_counts=True) for p in products}
    filters = {p.weight: classes[p.outputs] for p in products}
    return {w: _of(found, fed) if single >= set(found.tolist()) else {} for w, found in filters.items()}


def _of(filters: Ids, fed: Mapping[str, tuple[Ids, Ids]]) -> dict[str, int]:
    """Args: fed: by weight the classes that it reads, in order, and how often each."""
    found = {}
    for weight, (classes, times) in fed.items():
        place = np.searchsorted(classes, filters).clip(max=len(classes) - 1)
        counts = np.where(classes[place] == filters, times[place], 0)
        if counts.any() and (counts != counts[0]).any():
            return {}
        if counts.any():
            found[weight] = int(counts[0])
    return found


def idle(model: ModelProto) -> dict[str, Mask]:
    """By weight tensor of a layer: True where a weight changes no output, whatever it is, for the zeros there are.

    It reads a channel that is always zero, or makes one that nothing reads with a weight that is not zero.
    """
    labels = label(model)
    weights = _weights(model, labels)
    matrices = {p.weight: p.matrix(weights[p.weight]) for p in _products(labels)}
    zero = zeros(labels, matrices)
    used = reads(labels, matrices, zero)
    found = {}
    for p in _products(labels):
        mask = zero[p.inputs].reshape(p.groups, 1, -1) | ~used[p.outputs].reshape(p.groups, -1, 1)
        found[p.weight] = p.spread(mask, weights[p.weight])
    return found


def shrink(model: ModelProto, multiple: int = 1) -> ModelProto:
    """A copy without the channels that are always zero or read by nothing; the same outputs but for rounding.

    Names stay. Of every layer at least one filter stays, and so does what an operator without a rule reads.
    Args: multiple: filters of a convolution stay until there are a multiple of it, or all that there were; ONNX
    Runtime is fastest with multiples of 8 or 16.
    """
    return variants(model, (multiple,))[0]


def variants(model: ModelProto, multiples: Sequence[int]) -> list[ModelProto]:
    """Copies as of shrink, one for each multiple; those that would be equal once."""
    tracer = trace(model)
    labels = tracer.found
    matrices = matrices_of(model, labels)
    zero = zeros(labels, matrices)
    least, filters = _kept(labels, zero | ~reads(labels, matrices, zero)), _filters(tracer)
    masks = [_rounded(labels, least, filters, multiple) for multiple in multiples]
    return [_without(model, tracer, kept) for kept in {kept.tobytes(): kept for kept in masks}.values()]


def _without(model: ModelProto, tracer: Tracer, kept: Mask) -> ModelProto:
    """A copy with some of the channels. Args: kept: (labels,)."""
    labels, result = tracer.found, ModelProto()
    result.CopyFrom(model)
    _count(result, tracer, kept)
    changed = _cut(result, labels, kept)
    for values in (labels.values, labels.blocks.values):
        changed |= {name for name, x in values.items() if not kept[x.labels].all()}
    renumber(result, labels.blocks, kept)
    for node in result.graph.node:
        if node.output and node.output[0] in labels.groups:
            next(a for a in node.attribute if a.name == "group").i = int(kept[labels.groups[node.output[0]]].sum())
    for node in result.graph.node:
        if node.op_type == "Identity" and node.input[0] in changed:
            changed.add(node.output[0])
    described = [value for value in result.graph.value_info if value.name not in changed]
    del result.graph.value_info[:]
    result.graph.value_info.extend(described)
    return result


def zeros(labels: Labels, matrices: Mapping[str, Mask], cleared: bool = False) -> Mask:
    """(labels,) which are exactly zero whatever is fed. Args: cleared: if all filters and their vectors were zero."""
    zero = labels.mask(labels.zeros)
    for step in labels.steps:
        match step:
            case Product():
                silent = ~matrices[step.weight] | zero[step.inputs].reshape(step.groups, 1, -1)
                zero[step.outputs] = (silent.all(-1).reshape(-1) & step.rests) | cleared
            case Each():
                silent = np.all([zero[x] for x in step.inputs], axis=0) | ~step.passes
                zero[step.outputs] = silent & (step.rests | (cleared and step.may_rest))
            case Gate():
                zero[step.outputs] = np.any([zero[x] for x in step.inputs], axis=0)
    return zero


def reads(labels: Labels, matrices: Mapping[str, Mask], zero: Mask) -> Mask:
    """(labels,) on which an output depends, where weights that are zero do not count as reading."""
    used = labels.mask(labels.read)
    for step in reversed(labels.steps):
        out = used[step.outputs]
        match step:
            case Product():
                reading = (matrices[step.weight] & out.reshape(step.groups, -1, 1)).any(1).reshape(-1)
                used[step.inputs[reading]] = True
            case Each():
                for x in step.inputs:
                    used[x[out & step.passes]] = True
            case Gate():
                for i, x in enumerate(step.inputs):
                    shut = np.any([zero[other] for j, other in enumerate(step.inputs) if j != i], axis=0)
                    # where both are zero, one weight before them may change both
                    used[x[out & (zero[x] | ~shut)]] = True
    return used


def _kept(labels: Labels, dead: Mask) -> Mask:
    """(labels,) what stays: all of a class that has a living or frozen label, and one of every layer's."""
    classes = labels.classes()
    alive = np.zeros(labels.count, dtype=bool)
    alive[classes[~dead | labels.mask(labels.frozen)]] = True
    for part in labels.parts:
        if part.size and not alive[classes[part]].any():
            alive[classes[part[0]]] = True
    return alive[classes]


def _filters(tracer: Tracer) -> list[Ids]:
    """Of every convolution."""
    return [p.outputs for p in _products(tracer.found) if len(tracer.stored[p.weight].dims) > 2]


def _rounded(labels: Labels, kept: Mask, parts: Sequence[Ids], multiple: int) -> Mask:
    """(labels,) with so many more, from the front, that each part has a multiple of a number, or all."""
    if multiple <= 1:
        return kept
    classes = labels.classes()
    together = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[together], np.arange(labels.count + 1))
    kept, before = kept.copy(), -1
    while before != (before := int(kept.sum())):  # a class may count in several parts
        for part in parts:
            gone = iter(np.unique(classes[part[~kept[part]]]).tolist())
            while kept[part].sum() % multiple and (more := next(gone, None)) is not None:
                kept[together[bounds[more] : bounds[more + 1]]] = True
    return kept


def _cut(model: ModelProto, labels: Labels, kept: Mask) -> set[str]:
    """Args: kept: (labels,). Returns: the tensors that changed."""
    tensors, changed = stored_tensors(model), {}
    for name, axes in labels.axes.items():
        values = before = numpy_helper.to_array(tensors[name])
        for axis, along in axes.items():
            values = np.compress(kept[along], values, axis)
        if values.shape != before.shape:
            changed[name] = values
    put(model, tensors, changed)
    return set(changed)


def _count(model: ModelProto, tracer: Tracer, kept: Mask) -> None:
    """Write down how many channels are left; where others read the numbers too, in a tensor of its own."""
    nodes, taken = {node.output[0]: node for node in model.graph.node if node.output}, names_of(model)
    own = {name: tensor for name, tensor in stored_tensors(model).items() if tracer.uses[name] == 1}
    for counts in tracer.found.lengths:
        node, numbers = nodes[counts.node], counts.numbers.copy()
        for place, counted in counts.labels.items():
            if not kept[counted].all():
                numbers[place] = kept[counted].sum()
        if np.array_equal(numbers, counts.numbers):
            continue
        for attribute in [a for a in node.attribute if a.name in (counts.source, "num_outputs")]:
            node.attribute.remove(attribute)
        if isinstance(counts.source, str):
            node.attribute.append(helper.make_attribute(counts.source, numbers.tolist()))
        elif len(node.input) > counts.source and node.input[counts.source] in own:
            replace_values(own[node.input[counts.source]], numbers)
        else:
            set_input(node, counts.source, add_tensor(model, f"{counts.node}_numbers", numbers, taken))


def _products(labels: Labels) -> list[Product]:
    return [step for step in labels.steps if isinstance(step, Product)]


def _weights(model: ModelProto, labels: Labels) -> dict[str, np.ndarray]:
    stored = stored_tensors(model)
    return {p.weight: numpy_helper.to_array(stored[p.weight]) for p in _products(labels)}


def matrices_of(model: ModelProto, labels: Labels) -> dict[str, Mask]:
    """By weight tensor of a layer: (groups, out / groups, in / groups), where it is not zero."""
    weights = _weights(model, labels)
    return {p.weight: p.matrix(weights[p.weight]) for p in _products(labels)}
