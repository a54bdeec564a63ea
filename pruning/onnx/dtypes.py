"""Element types: what a stored tensor is trained in."""

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from pruning.errors import UnsupportedOperator

# half precision is trained in single, and delivered as it came
DTYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float32,
    TensorProto.BFLOAT16: torch.float32,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT16: torch.int16,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.BOOL: torch.bool,
}
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
WIDENED = frozenset({TensorProto.UINT16, TensorProto.UINT32})  # torch has few operators for them


def name_of(data_type: int) -> str:
    """Such as float16."""
    known = data_type in TensorProto.DataType.values()
    return TensorProto.DataType.Name(data_type).lower() if known else str(data_type)  # type: ignore[arg-type]


def dtype_of(data_type: int) -> torch.dtype:
    """The type that values of an ONNX type have in the network.

    Raises: UnsupportedOperator: strings, complex numbers, float8, int4, uint64 and the like.
    """
    if data_type not in DTYPES:
        raise UnsupportedOperator(f"element type {name_of(data_type)} is not supported")
    return DTYPES[data_type]  # type: ignore[index]


def values_of(tensor: TensorProto) -> Tensor:
    """A copy of a stored tensor. Raises: UnsupportedOperator: as dtype_of."""
    try:
        dtype = dtype_of(tensor.data_type)
    except UnsupportedOperator as error:
        raise UnsupportedOperator(f"tensor {tensor.name!r}: {error}") from error
    values = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.BFLOAT16:
        values = values.astype(np.float32)
    if tensor.data_type in WIDENED:
        values = values.astype(np.int64)
    return torch.from_numpy(np.array(values)).to(dtype)
