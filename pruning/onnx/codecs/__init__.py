"""Ways to keep stored tensors as small streams, and nodes that decode them."""

from collections.abc import Callable, Sequence

from pruning.onnx.codecs import codebooks, dense, levels, sparse
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Stored

Codec = Callable[[Pieces, Sequence[Stored]], str | None]

CODECS: dict[str, Codec] = {
    "dense": dense.emit,
    "codebooks": codebooks.emit,
    "sparse": sparse.emit,
    "levels": levels.emit,
}
