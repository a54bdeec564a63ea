"""LSTM, GRU and RNN. Usual ones with stored weights become native modules, whose matrices are pruned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from pruning.onnx.build import Builder, bound
from pruning.onnx.network import Move
from pruning.onnx.node import Node

# rows of torch's gates in ONNX's order: LSTM i o f c -> i f g o, GRU z r h -> r z n
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
NATIVE = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Relu": torch.relu,
    "HardSigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "Softsign": nn.functional.softsign,
    "Softplus": nn.functional.softplus,
}


Matrices = tuple[Tensor, Tensor, Tensor, Tensor | None]  # W, R, both biases, peepholes: of one direction


@dataclass(frozen=True)
class Cell:
    """What kind of cell, and how it is run."""

    kind: str
    hidden: int
    directions: tuple[bool, ...]  # whether each runs backwards
    activations: tuple[tuple[str, ...], ...]
    layout: int
    clip: float | None
    linear_before_reset: bool
    coupled: bool


def recurrent(build: Builder, node: Node) -> Any:
    """Activations Sigmoid, Tanh, Relu, HardSigmoid, Softsign and Softplus without parameters."""
    cell = _cell(node)
    if _is_usual(build, node, cell):
        result = _native(build, node, cell)
        if result is not None:
            return result
    W, R, B = (build.read(node, i) if node.input(i) is not None else None for i in (1, 2, 3))
    others = [node.input(i) for i in range(4, 8)]
    return build.outputs(build.call(bound(unrolled, cell), node.input(0), W, R, B, *others), 3)


def _cell(node: Node) -> Cell:
    direction = node.attribute("direction", "forward")
    backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    given = node.attribute("activations", USUAL[node.op] * len(backwards))
    names = [n.decode() if isinstance(n, bytes) else n for n in given]
    if unknown := set(names) - set(ACTIVATIONS):
        raise node.unsupported(f"activations {', '.join(sorted(unknown))} are not supported")
    if node.attribute("activation_alpha") or node.attribute("activation_beta"):
        raise node.unsupported("activations with parameters are not supported")
    each = len(names) // len(backwards)
    return Cell(
        node.op,
        node.attribute("hidden_size"),
        backwards,
        tuple(tuple(names[i * each : (i + 1) * each]) for i in range(len(backwards))),
        node.attribute("layout", 0),
        node.attribute("clip"),
        bool(node.attribute("linear_before_reset", 0)),
        bool(node.attribute("input_forget", 0)),
    )


def _is_usual(build: Builder, node: Node, cell: Cell) -> bool:
    """What torch's own modules compute."""
    usual = all(list(a) == USUAL[cell.kind] for a in cell.activations) and cell.clip is None and not cell.coupled
    stored = all(node.input(i) is None or build.is_weight(node.input_names[i]) for i in (1, 2, 3))
    reset = cell.kind != "GRU" or cell.linear_before_reset
    plain = node.input(4) is None and node.input(7) is None
    return usual and stored and reset and plain and isinstance(node.input(0), fx.Node)


def _native(build: Builder, node: Node, cell: Cell) -> Any:
    W = node.input(1)
    assert isinstance(W, Tensor)
    has_bias = node.input(3) is not None
    both = len(cell.directions) == 2
    module = NATIVE[cell.kind](W.shape[2], cell.hidden, bias=has_bias, bidirectional=both, device="meta")
    matrices, biases = [], []
    for d, end in enumerate(["", "_reverse"][: len(cell.directions)]):
        for i, name in ((1, f"weight_ih_l0{end}"), (2, f"weight_hh_l0{end}")):
            matrices.append((build.weight(node, i, _gates(cell, d)), name, "WR"[i - 1]))
        halves = (f"bias_ih_l0{end}", f"bias_hh_l0{end}") if has_bias else ()
        biases += [(build.weight(node, 3, _gates(cell, d, half)), name) for half, name in enumerate(halves)]
    if any(parameter is None for parameter, *_ in (*matrices, *biases)):
        return None
    for parameter, name in biases:
        module.register_parameter(name, parameter)
    for parameter, name, _ in matrices:
        module.register_parameter(name, parameter)
    states = [node.input(i) for i in ((5, 6) if cell.kind == "LSTM" else (5,))]
    result = build.module(node, Steps(module, cell.layout, cell.directions == (True,)), node.input(0), *states)
    for parameter, _, matrix in matrices:
        build.prune(parameter, node, "recurrent", f".{matrix}")  # type: ignore[arg-type]
    return build.outputs(result, 3)


def _gates(cell: Cell, direction: int, half: int | None = None) -> Move:
    """One direction of a stored tensor (half: of the biases too) with its gates in torch's order."""
    order, size = GATES[cell.kind], cell.hidden

    def move(stored: Tensor) -> Tensor:
        rows = stored[direction]
        if half is not None:
            rows = rows[half * len(order) * size : (half + 1) * len(order) * size]
        return torch.cat([rows[g * size : (g + 1) * size] for g in order])

    return move


class Steps(nn.Module):
    """A native recurrent module with ONNX's shapes: Y (steps, directions, N, hidden); layout 1 has N first."""

    def __init__(self, module: nn.RNNBase, layout: int, backwards: bool) -> None:
        super().__init__()
        self.module, self.layout, self.backwards = module, layout, backwards

    def forward(self, x: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """Args: x: (steps, N, in); h, c: (directions, N, hidden), where N may be 1. Returns: Y, Y_h, Y_c."""
        x = x.transpose(0, 1) if self.layout else x
        x, n = x.flip(0) if self.backwards else x, x.shape[1]
        h, c = (v if v is None else self._states(v, n) for v in (h, c))
        if isinstance(self.module, nn.LSTM):
            zero = x.new_zeros(2 if self.module.bidirectional else 1, n, self.module.hidden_size)
            y, states = self.module(x, (zero if h is None else h, zero if c is None else c))
        else:
            y, last = self.module(x, h)
            states = (last, last)
        Y = y.reshape(*y.shape[:2], -1, self.module.hidden_size).transpose(1, 2)
        Y = Y.flip(0) if self.backwards else Y
        if self.layout:
            return Y.permute(2, 0, 1, 3), states[0].transpose(0, 1), states[1].transpose(0, 1)
        return Y, *states

    def _states(self, v: Tensor, n: int) -> Tensor:
        v = v.transpose(0, 1) if self.layout else v
        return v.expand(-1, n, -1).contiguous()


def unrolled(
    cell: Cell,
    x: Tensor,
    W: Tensor,
    R: Tensor,
    B: Tensor | None,
    lengths: Tensor | None,
    h: Tensor | None,
    c: Tensor | None,
    P: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Step by step, with all that ONNX allows. Returns: Y, Y_h, Y_c."""
    x = x.transpose(0, 1) if cell.layout else x
    h, c = (v if v is None else v.transpose(0, 1) if cell.layout else v for v in (h, c))
    ys, hs, cs = [], [], []
    for d, backwards in enumerate(cell.directions):
        start = [x.new_zeros(x.shape[1], cell.hidden) if v is None else v[d].expand(x.shape[1], -1) for v in (h, c)]
        matrices = W[d], R[d], x.new_zeros(2 * W.shape[1]) if B is None else B[d], None if P is None else P[d]
        y, last_h, last_c = _direction(cell, d, backwards, x, matrices, lengths, start)
        ys.append(y)
        hs.append(last_h)
        cs.append(last_c)
    Y, H, C = torch.stack(ys, 1), torch.stack(hs), torch.stack(cs)
    return (Y.permute(2, 0, 1, 3), H.transpose(0, 1), C.transpose(0, 1)) if cell.layout else (Y, H, C)


def _direction(
    cell: Cell, d: int, backwards: bool, x: Tensor, matrices: Matrices, lengths: Tensor | None, start: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    h, c = start
    steps = len(x)
    result = x.new_zeros(steps, x.shape[1], cell.hidden)
    ys: list[Tensor] = list(result)
    for t in reversed(range(steps)) if backwards else range(steps):
        new_h, new_c = STEPS[cell.kind](cell, cell.activations[d], x[t], h, c, matrices)
        if lengths is None:
            h, c, ys[t] = new_h, new_c, new_h
        else:
            alive = (t < lengths).unsqueeze(-1)
            h, c = torch.where(alive, new_h, h), torch.where(alive, new_c, c)
            ys[t] = torch.where(alive, new_h, torch.zeros_like(new_h))
    return torch.stack(ys), h, c


def _lstm(cell: Cell, f: Sequence[str], x: Tensor, h: Tensor, c: Tensor, matrices: Matrices) -> Any:
    W, R, B, P = matrices
    size = cell.hidden
    i, o, forget, g = (x @ W.t() + h @ R.t() + B[: 4 * size] + B[4 * size :]).split(size, -1)
    p = (0, 0, 0) if P is None else P.split(size)
    i = ACTIVATIONS[f[0]](_clipped(cell, i + p[0] * c))
    forget = 1 - i if cell.coupled else ACTIVATIONS[f[0]](_clipped(cell, forget + p[2] * c))
    c = forget * c + i * ACTIVATIONS[f[1]](_clipped(cell, g))
    o = ACTIVATIONS[f[0]](_clipped(cell, o + p[1] * c))
    return o * ACTIVATIONS[f[2]](c), c


def _gru(cell: Cell, f: Sequence[str], x: Tensor, h: Tensor, c: Tensor, matrices: Matrices) -> Any:
    W, R, B, _ = matrices
    size = cell.hidden
    wz, wr, wh = (x @ W.t() + B[: 3 * size]).split(size, -1)
    rz, rr, rh = R.split(size)
    bz, br, bh = B[3 * size :].split(size)
    z = ACTIVATIONS[f[0]](_clipped(cell, wz + h @ rz.t() + bz))
    r = ACTIVATIONS[f[0]](_clipped(cell, wr + h @ rr.t() + br))
    past = r * (h @ rh.t() + bh) if cell.linear_before_reset else (r * h) @ rh.t() + bh
    n = ACTIVATIONS[f[1]](_clipped(cell, wh + past))
    return (1 - z) * n + z * h, c


def _rnn(cell: Cell, f: Sequence[str], x: Tensor, h: Tensor, c: Tensor, matrices: Matrices) -> Any:
    W, R, B, _ = matrices
    size = cell.hidden
    return ACTIVATIONS[f[0]](_clipped(cell, x @ W.t() + h @ R.t() + B[:size] + B[size:])), c


def _clipped(cell: Cell, x: Tensor) -> Tensor:
    return x if cell.clip is None else x.clamp(-cell.clip, cell.clip)


STEPS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}

CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {"GRU": recurrent, "LSTM": recurrent, "RNN": recurrent}
