"""Which of several exact forms of a net ONNX Runtime runs fastest: found by running them."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from pruning.measure import Feeds, session
from pruning.onnx.columns import Layer, Rewrite, layers, rewritten
from pruning.onnx.convert import stored_tensors
from pruning.onnx.forms import FORMS
from pruning.onnx.race import Call, Clock, Race, rounds, speedups
from pruning.onnx.upstream import move_gathers

PLAIN = "not rewritten"
MARGIN = 1.05  # by which a form must be faster than the layer alone was
PREFERENCE = 1.3  # by which a form must be faster than one before it in FORMS: that fits its neighbours better
# Nets are tried with all layers that gain as much, first those that do by themselves: beside each other they gain more.
GAINS = (MARGIN, 0.97, 0.9, 1.5, 2.5)
ALONE, EACH = 0.5, 0.25  # of the time that is left: for single layers, and for a whole net
LEAST = 5  # rounds of a layer
TRIALS = 6  # whole nets that are tried when the time is over
PATIENCE = 6  # times the seconds: when these are over too, nothing is tried any more
CACHE = 2**24  # numbers; no processor keeps more
NEW_ENOUGH = 8  # IR version that every runtime knows, with initializers that need not be inputs


@dataclass(frozen=True)
class Read:
    """What a layer reads."""

    shape: tuple[int, ...]
    dtype: np.dtype


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
    """A whole net. taken: the layers that have another form in it; late: it need not be tried."""

    model: ModelProto
    winners: Sequence[Winner]
    taken: frozenset[str] = frozenset()
    variant: int = 0
    late: bool = False

    def choices(self) -> tuple[Choice, ...]:
        """Of every layer that had an alternative."""
        return tuple(w.choice(w.layer in self.taken) for w in self.winners)


def fastest(models: Sequence[ModelProto], x: Feeds, seconds: float = 10.0) -> Fastest:
    """The fastest of some exact variants of a net, with layers in other forms where that is faster.

    Never one that is slower than the first, or that gives other outputs for x.
    Args: models: the first is the plain one; x: one batch, as large as the net will be run with; seconds: about; large
    nets get up to PATIENCE times as much, for a few runs of each layer and a few whole nets.
    Raises: RejectedModel: ONNX Runtime does not run the plain net.
    """
    clock, patience = Clock(seconds), Clock(PATIENCE * seconds)
    race = Race(models[0], x)
    trials = Trials(_read(models[0], race.feed), _others(models[0]), patience)
    found = [trials.winners(model, clock.left() * ALONE / (len(models) - i)) for i, model in enumerate(models)]
    plain = best = Candidate(models[0], found[0])
    for trial, candidate in enumerate(_candidates(models, found)):
        is_enough = candidate.late or (trial >= TRIALS and race.best is not race.plain)
        if not patience.left() or (is_enough and not clock.left()):
            break
        if race.challenge(candidate.model, clock.left() * EACH):
            best = candidate
    before, after = race.result(clock.left())
    best = plain if race.best is race.plain else best
    return Fastest(best.model, best.choices(), before, after, best.variant)


@dataclass
class Trials:
    """Layers that run by themselves.

    read: what the layers of the plain net read; others: as many numbers as the net has, which are read before each
    call: in the net too a layer finds its weights in the cache or not, by how much is read from one call to the next;
    patience: layers are left out when it is over; done: by weight, what it is known by, and what was found.
    """

    read: Mapping[str, Read]
    others: np.ndarray
    patience: Clock
    done: dict[str, tuple[bytes, Winner | None]] = field(default_factory=dict)

    def winners(self, model: ModelProto, seconds: float) -> list[Winner]:
        """Of layers that have other forms, the fastest one by itself.

        Layers that are in another variant too are not timed again.
        Args: model: a variant; seconds: for all of them, exceeded only for the least number of rounds.
        """
        stored, own = stored_tensors(model), layers(model)
        new = {layer.weight: made for layer in own if not self._is_done(layer) and (made := _rewrites(layer))}
        for layer in own:
            if layer.weight in new and self.patience.left():
                found = self._winner(layer, new[layer.weight], stored, seconds / len(new))
                self.done[layer.weight] = _digest(layer), found
        known = (self.done[layer.weight][1] for layer in own if self._is_done(layer))
        return [found for found in known if found is not None]

    def _is_done(self, layer: Layer) -> bool:
        return layer.weight in self.done and self.done[layer.weight][0] == _digest(layer)

    def _winner(
        self, layer: Layer, rewrites: Mapping[str, Rewrite], stored: Mapping[str, TensorProto], seconds: float
    ) -> Winner | None:
        """None where the layer cannot be run by itself, or in no other form."""
        clock, x = Clock(seconds), self._noise(layer)
        net = None if x is None else _alone(layer, x, stored)
        if x is None or net is None:
            return None
        calls = _calls(net, layer, rewrites, {layer.node.input[0]: x})
        if len(calls) < 2:
            return None
        taken = rounds(list(calls.values()), clock.left(), LEAST, self.others.max)
        forms, gains, ms = list(calls), speedups(taken), np.median(taken, axis=0)
        best = 1
        for i in range(2, len(forms)):
            best = i if gains[i] > PREFERENCE * gains[best] else best
        form = forms[best]
        return Winner(layer.weight, form, rewrites[form], float(gains[best]), float(ms[0]), float(ms[best]))

    def _noise(self, layer: Layer) -> np.ndarray | None:
        """Numbers of the shape that this layer reads, which has other channels than in the plain net."""
        like = self.read.get(layer.node.input[0])
        if like is None:
            return None
        shape = list(like.shape)
        shape[layer.channels] = layer.inputs
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(like.dtype)


def _candidates(models: Sequence[ModelProto], found: Sequence[Sequence[Winner]]) -> Iterator[Candidate]:
    """Other nets than the first, the most promising ones first: with all layers that gain, and with none; then others.

    Those that come late are not tried when the time is over.
    """
    seen = {(0, frozenset[str]())}
    for gain in GAINS:
        rewritten_ones = [(i, frozenset(w.layer for w in own if w.gain >= gain)) for i, own in enumerate(found)]
        for i, taken in (*rewritten_ones, *((i, frozenset[str]()) for i in range(len(models)))):
            if (i, taken) not in seen:
                seen.add((i, taken))
                yield from _nets(Candidate(models[i], found[i], taken, i, late=gain != GAINS[0]))


def _nets(candidate: Candidate) -> Iterator[Candidate]:
    """With the forms that it takes, and where that can be, with their Gathers moved."""
    net = rewritten(candidate.model, {w.layer: w.rewrite for w in candidate.winners if w.layer in candidate.taken})
    yield replace(candidate, model=net)
    moved = move_gathers(net)
    if moved is not net:
        yield replace(candidate, model=moved)


def _others(model: ModelProto) -> np.ndarray:
    numbers = sum(math.prod(tensor.dims) for tensor in stored_tensors(model).values())
    return np.ones(max(min(numbers, CACHE), 1), np.float32)


def _rewrites(layer: Layer) -> Mapping[str, Rewrite]:
    made = {form: make(layer) for form, make in FORMS.items()}
    return {form: rewrite for form, rewrite in made.items() if rewrite is not None}


def _digest(layer: Layer) -> bytes:
    return hashlib.blake2b(repr(layer.W.shape).encode() + layer.W.tobytes()).digest()


def _read(model: ModelProto, feed: Feeds) -> Mapping[str, Read]:
    """What layers read as the net runs; what it is fed with alone where ONNX Runtime does not hand the rest out."""
    inner = [name for name in dict.fromkeys(layer.node.input[0] for layer in layers(model)) if name not in feed]
    asked = ModelProto()
    asked.CopyFrom(model)
    given = {port.name for port in model.graph.output}
    asked.graph.output.extend(ValueInfoProto(name=name) for name in inner if name not in given)
    try:
        values = session(asked.SerializeToString(), threads=1).run(inner, dict(feed)) if inner else []
    except Exception:  # noqa: BLE001  # ONNX Runtime raises a dozen classes of its own, with no common base
        values, inner = [], []
    found = {**feed, **{name: np.asarray(v) for name, v in zip(inner, values, strict=True)}}
    return {name: Read(values.shape, values.dtype) for name, values in found.items()}


def _calls(net: ModelProto, layer: Layer, rewrites: Mapping[str, Rewrite], feed: Feeds) -> dict[str, Call]:
    """By form, the plain one first; none where that does not run. Args: net: of this layer."""
    nets = {PLAIN: net} | {form: rewritten(net, {layer.weight: rewrite}) for form, rewrite in rewrites.items()}
    calls: dict[str, Call] = {}
    for form, one in nets.items():
        try:
            call = partial(session(one.SerializeToString(), threads=1).run, None, dict(feed))
            call()
        except Exception:  # noqa: BLE001  # as in _read: a form that this runtime, or machine, cannot run
            if form == PLAIN:
                return {}
            continue
        calls[form] = call
    return calls


def _alone(layer: Layer, x: np.ndarray, stored: Mapping[str, TensorProto]) -> ModelProto | None:
    """A net of one layer; None where it reads more than one value that is not stored."""
    node = layer.node
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
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", layer.opset)], ir_version=NEW_ENOUGH)
