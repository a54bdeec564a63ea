"""Which of several exact forms of a net ONNX Runtime runs fastest: found by running them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from pruning.errors import OutOfMemory, RejectedModel
from pruning.measure import Feeds, session
from pruning.onnx.columns import Layer, Rewrite, layers, rewritten
from pruning.onnx.convert import stored_tensors
from pruning.onnx.gather import FORMS
from pruning.onnx.race import Clock, Race, rounds, speedups
from pruning.onnx.upstream import move_gathers

PLAIN = "not rewritten"
MARGIN = 1.05  # by which a form must be faster than the layer alone was
PREFERENCE = 1.3  # by which a form must be faster than one before it in FORMS: that fits its neighbours better
GAINS = (MARGIN, 1.5, 2.5)  # nets are tried with all layers that gain as much
ALONE, EACH = 0.5, 0.25  # of the time that is left: for single layers, and for a whole net
LEAST = 3  # runs of a layer


@dataclass(frozen=True)
class Choice:
    """What became of a layer. layer: its weight tensor's name; times: of it alone, of one processor."""

    layer: str
    form: str
    dense_ms: float
    chosen_ms: float


@dataclass(frozen=True)
class Fastest:
    """choices: of layers for which there was an alternative; times: of the whole net, of one processor, in turn."""

    model: ModelProto
    choices: tuple[Choice, ...]
    before_ms: float
    after_ms: float
    variant: int = 0

    @classmethod
    def unchanged(cls, model: ModelProto) -> "Fastest":
        """Nothing was chosen, nor timed."""
        return cls(model, (), 0.0, 0.0)


@dataclass(frozen=True)
class Winner:
    """The fastest form of a layer by itself. gain: how many times as fast as it was."""

    layer: str
    form: str
    rewrite: Rewrite
    gain: float
    dense_ms: float
    best_ms: float

    def choice(self, taken: bool) -> Choice:
        """Args: taken: whether the net has it."""
        return Choice(
            self.layer, self.form if taken else PLAIN, self.dense_ms, self.best_ms if taken else self.dense_ms
        )


@dataclass(frozen=True)
class Candidate:
    """A whole net. taken: the layers that have another form in it."""

    model: ModelProto
    winners: Sequence[Winner]
    taken: frozenset[str] = frozenset()
    variant: int = 0

    def choices(self) -> tuple[Choice, ...]:
        """Of every layer that had an alternative."""
        return tuple(w.choice(w.layer in self.taken) for w in self.winners)


def fastest(models: Sequence[ModelProto], x: Feeds, seconds: float = 10.0) -> Fastest:
    """The fastest of some exact variants of a net, with layers in other forms where that is faster.

    Never one that is slower than the first, or that gives other outputs for x.
    Args: models: the first is the plain one; x: one batch, as large as the net will be run with; seconds: about, as a
    net is loaded and run a few times whatever it takes.
    Raises: RejectedModel: ONNX Runtime does not run the plain net.
    """
    clock, race = Clock(seconds), Race(models[0], x)
    found = [
        winners(model, race.feed, clock.left() * ALONE / (len(models) - i), clock) for i, model in enumerate(models)
    ]
    plain = best = Candidate(models[0], found[0])
    for candidate in _candidates(models, found):
        if clock.left() and race.challenge(candidate.model, clock.left() * EACH):
            best = candidate
    before, after = race.result(clock.left())
    best = plain if race.best is race.plain else best
    return Fastest(best.model, best.choices(), before, after, best.variant)


def winners(model: ModelProto, feed: Feeds, seconds: float, clock: Clock) -> list[Winner]:
    """Of layers that have other forms, the fastest one by itself, on what the layer reads in this net.

    Args: seconds: for all of them; clock: layers are left out when its time is over.
    """
    forms = [(layer, rewrites) for layer in layers(model) if (rewrites := _rewrites(layer))]
    read, found = _read(model, [layer.node.input[0] for layer, _ in forms], feed), list[Winner]()
    for layer, rewrites in forms:
        x = read.get(layer.node.input[0])
        if clock.left() and x is not None:
            winner = _winner(model, layer, rewrites, x, seconds / len(forms))
            found += [] if winner is None else [winner]
    return found


def _candidates(models: Sequence[ModelProto], found: Sequence[Sequence[Winner]]) -> Iterator[Candidate]:
    """Other nets than the first, the most promising ones first."""
    seen = {(0, frozenset[str]())}
    for gain in GAINS:
        for i, (model, own) in enumerate(zip(models, found, strict=True)):
            for taken in (frozenset(w.layer for w in own if w.gain >= gain), frozenset[str]()):
                if (i, taken) not in seen:
                    seen.add((i, taken))
                    yield from _nets(Candidate(model, own, taken, i))


def _nets(candidate: Candidate) -> Iterator[Candidate]:
    """With the forms that it takes, and where that can be, with their Gathers moved."""
    net = rewritten(candidate.model, {w.layer: w.rewrite for w in candidate.winners if w.layer in candidate.taken})
    yield replace(candidate, model=net)
    moved = move_gathers(net)
    if moved != net:
        yield replace(candidate, model=moved)


def _rewrites(layer: Layer) -> Mapping[str, Rewrite]:
    made = {form: make(layer) for form, make in FORMS.items()}
    return {form: rewrite for form, rewrite in made.items() if rewrite is not None}


def _read(model: ModelProto, names: Sequence[str], feed: Feeds) -> dict[str, np.ndarray]:
    """Values that layers read as the net runs; none where ONNX Runtime does not hand them out."""
    inner = [name for name in dict.fromkeys(names) if name not in feed]
    asked = ModelProto()
    asked.CopyFrom(model)
    given = {port.name for port in model.graph.output}
    asked.graph.output.extend(ValueInfoProto(name=name) for name in inner if name not in given)
    try:
        values = session(asked.SerializeToString(), threads=1).run(inner, dict(feed)) if inner else []
    except Exception:  # noqa: BLE001  # ONNX Runtime raises a dozen classes of its own, with no common base
        return {}
    return {**feed, **{name: np.asarray(v) for name, v in zip(inner, values, strict=True)}}


def _winner(
    model: ModelProto, layer: Layer, rewrites: Mapping[str, Rewrite], x: np.ndarray, seconds: float
) -> Winner | None:
    """None where the layer cannot be run by itself, or in no other form."""
    clock, net, feed = Clock(seconds), _alone(model, layer, x), {layer.node.input[0]: x}
    if net is None:
        return None
    try:
        first = session(net.SerializeToString(), threads=1)
    except (RejectedModel, OutOfMemory):
        return None
    sessions, names = [first], [PLAIN]
    for form, rewrite in rewrites.items():
        try:
            sessions.append(session(rewritten(net, {layer.weight: rewrite}).SerializeToString(), threads=1))
            names.append(form)
        except (RejectedModel, OutOfMemory):  # a form that this runtime, or machine, cannot run
            continue
    try:
        taken = rounds([lambda s=s: s.run(None, feed) for s in sessions], clock.left(), LEAST)
    except Exception:  # noqa: BLE001  # as in _read
        return None
    gains, ms = speedups(taken), np.median(taken, axis=0)
    if len(names) == 1:
        return None
    best = 1
    for i in range(2, len(names)):
        best = i if gains[i] > PREFERENCE * gains[best] else best
    return Winner(layer.weight, names[best], rewrites[names[best]], float(gains[best]), float(ms[0]), float(ms[best]))


def _alone(model: ModelProto, layer: Layer, x: np.ndarray) -> ModelProto | None:
    """A net of one layer; None where it reads more than one value that is not stored."""
    stored, node = stored_tensors(model), layer.node
    own = [name for name in node.input[1:] if name]
    if any(name not in stored for name in own):
        return None
    tensors = []
    for name in own:
        tensors.append(stored[name].__class__())
        tensors[-1].CopyFrom(stored[name])
        tensors[-1].name = name  # that of a Constant node need not have it
    data_type = helper.np_dtype_to_tensor_dtype(x.dtype)
    reads = [helper.make_tensor_value_info(node.input[0], data_type, x.shape)]
    gives = [helper.make_tensor_value_info(node.output[0], data_type, None)]
    graph = helper.make_graph([node], "layer", reads, gives, tensors)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=max(model.ir_version, 4))
