"""NumPy types of a model's inputs, by the name that ONNX and ONNX Runtime have for them."""

import numpy as np

FLOATS: dict[str, type] = {"float": np.float32, "double": np.float64, "float16": np.float16}
WHOLE: dict[str, type] = {
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
}
NUMPY = FLOATS | WHOLE
