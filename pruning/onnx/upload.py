"""An uploaded model as the rest of the house takes it."""

from onnx import ModelProto

from pruning.onnx.unpack import unpack
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import Limits, check, vet


def open_upload(content: bytes, limits: Limits | None = None) -> ModelProto:
    """Vetted, its weights decoded where it is a packed file, every tensor for itself. Raises: RejectedModel."""
    limits = limits or Limits()
    model = vet(content, limits)
    plain = unpack(model)
    if plain is not model:  # numbers that were not known by then may be shapes, and ask for terabytes
        check(plain, limits)
    return unshare(plain)
