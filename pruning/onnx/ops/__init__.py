"""One operator family a file. CONVERTERS names every operator that is taken."""

from collections.abc import Callable
from typing import Any

from pruning.onnx.build import Builder, Node
from pruning.onnx.ops import activations, arithmetic, dense, normalization, pooling, reductions, shapes

Converter = Callable[[Builder, Node], Any]

CONVERTERS: dict[str, Converter] = {
    "Add": arithmetic.add,
    "AveragePool": pooling.average_pool,
    "BatchNormalization": normalization.batch_normalization,
    "Cast": shapes.cast,
    "Clip": activations.clip,
    "Concat": shapes.concat,
    "Constant": shapes.constant,
    "ConstantOfShape": shapes.constant_of_shape,
    "Conv": dense.conv,
    "Div": arithmetic.div,
    "Dropout": shapes.identity,
    "Flatten": shapes.flatten,
    "Gather": shapes.gather,
    "Gemm": dense.gemm,
    "GlobalAveragePool": pooling.global_average_pool,
    "Identity": shapes.identity,
    "LeakyRelu": activations.leaky_relu,
    "LogSoftmax": activations.log_softmax,
    "MatMul": dense.matmul,
    "MaxPool": pooling.max_pool,
    "Mul": arithmetic.mul,
    "Pad": shapes.pad,
    "ReduceMean": reductions.reduce_mean,
    "Relu": activations.relu,
    "Reshape": shapes.reshape,
    "Shape": shapes.shape,
    "Sigmoid": activations.sigmoid,
    "Slice": shapes.slice_,
    "Softmax": activations.softmax,
    "Squeeze": shapes.squeeze,
    "Sub": arithmetic.sub,
    "Tanh": activations.tanh,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
}
