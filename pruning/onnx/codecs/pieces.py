"""The nodes and constants of a decoder while it is put together."""

import itertools
import string
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

LETTERS = string.ascii_letters + "_" + string.digits
HEAD = 2  # bytes before a node or a tensor of up to 127 bytes in its graph


class Pieces:
    """Nodes in order, and the constants they share; every name is as short as can be."""

    def __init__(self, opset: int, taken: Iterable[str] = ()) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self._names = fresh(taken)
        self._known: dict[bytes, str] = {}

    def node(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        return self.nodes_outputs(op, inputs, [out or next(self._names)], **attributes)[0]

    def nodes_outputs(self, op: str, inputs: Iterable[str], outputs: list[str], **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        self.nodes.append(helper.make_node(op, list(inputs), outputs, **attributes))
        return outputs

    def name(self) -> str:
        """One that nothing bears."""
        return next(self._names)

    def constant(self, values: np.ndarray) -> str:
        """A stored tensor; equal ones are stored once."""
        tensor = stored(values)
        key = tensor.SerializeToString()
        if key not in self._known:
            self._known[key] = tensor.name = next(self._names)
            self.tensors.append(tensor)
        return self._known[key]

    def whole(self, *values: int) -> str:
        """A vector of int64."""
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: float, dtype: type[np.generic] | np.dtype = np.int64) -> str:
        """A tensor of no dimensions."""
        return self.constant(np.array(value, dtype=dtype))

    def size(self) -> int:
        """Bytes that all this takes in a file."""
        return sum(HEAD + (size > 127) + (size > 16383) + size for size in map(_bytes, (*self.nodes, *self.tensors)))


def stored(values: np.ndarray, name: str = "") -> TensorProto:
    """As raw bytes, or as numbers of variable length where those are fewer bytes."""
    raw = numpy_helper.from_array(np.asarray(values), name)
    if values.dtype not in (np.int64, np.int32) or values.size > 2**22:
        return raw
    short = TensorProto(dims=raw.dims, data_type=raw.data_type, name=name)
    (short.int64_data if values.dtype == np.int64 else short.int32_data).extend(values.ravel().tolist())
    return min(raw, short, key=_bytes)


def fresh(taken: Iterable[str]) -> Iterator[str]:
    """Names, shortest first, without those that are taken."""
    used = set(taken)
    made = (a + "".join(b) for n in itertools.count() for a in LETTERS for b in itertools.product(LETTERS, repeat=n))
    return (name for name in made if name not in used)


def _bytes(proto: NodeProto | TensorProto) -> int:
    return proto.ByteSize()
