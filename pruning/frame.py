"""How a batch of examples meets a file, whatever batch the file has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from pruning.dtypes import NUMPY

Feeds = Mapping[str, np.ndarray]
TYPES = {f"tensor({name})": dtype for name, dtype in NUMPY.items()}


@dataclass(frozen=True)
class Frame:
    """How a batch meets a file: examples, in pieces of `size`; single: the file has no batch axis.

    dtypes: of the file's inputs.
    """

    examples: int
    size: int
    single: bool
    dtypes: Mapping[str, type]

    @classmethod
    def of(cls, s: ort.InferenceSession, x: Feeds) -> "Frame":
        """An input with one axis less than its data has no batch axis."""
        ports = {port.name: port for port in s.get_inputs()}
        examples = len(next(iter(x.values())))
        single = any(len(ports[name].shape) == values.ndim - 1 for name, values in x.items())
        fixed = [d for name in x for d in ports[name].shape[:1] if isinstance(d, int)]
        size = 1 if single else next(iter(fixed), examples)
        return cls(examples, size, single, {name: TYPES.get(p.type, np.float32) for name, p in ports.items()})

    def pieces(self, x: Feeds) -> list[dict[str, np.ndarray]]:
        """What each call is fed; the last piece is filled up."""
        whole = {name: self._whole(values.astype(self.dtypes[name], copy=False)) for name, values in x.items()}
        starts = range(0, self.examples, self.size)
        return [
            {k: np.asarray(v[i]) if self.single else v[i : i + self.size] for k, v in whole.items()} for i in starts
        ]

    def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The outputs of all calls as one batch."""
        joined = np.stack(parts) if self.single else np.concatenate([np.atleast_1d(part) for part in parts])
        joined = joined[: self.examples] if len(parts) > 1 or self.size > self.examples else joined
        return joined.astype(np.float32) if joined.dtype == np.float16 else joined

    def _whole(self, values: np.ndarray) -> np.ndarray:
        missing = -len(values) % self.size
        return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values
