"""Every value of a group of tensors in one stream: for tensors with few zeros."""

from collections.abc import Sequence

from pruning.onnx.codecs import codebook, eight, split
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Emit, Stored, flat, separate

VALUES: dict[str, Emit] = {"codebook": codebook.emit, "int8": eight.emit, "split": split.emit}


def emit(pieces: Pieces, group: Sequence[Stored]) -> str | None:
    """Nodes that give the tensors; returns how they are kept, None where nothing is gained."""
    values = flat(group)
    for name, codec in VALUES.items():
        output = codec(pieces, values)
        if output is not None:
            separate(pieces, output, group)
            return name
    return None
