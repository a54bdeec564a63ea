"""BatchNormalization."""

from torch import fx, nn

from pruning.onnx.build import Builder, Node
from pruning.onnx.network import Source


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization over axis 1 of an input of any rank."""

    def _check_input_dim(self, input: object) -> None:
        """ONNX has one operator for all ranks."""


def batch_normalization(build: Builder, node: Node) -> fx.Node:
    """Trained with batch statistics; momentum is the weight of the old value in ONNX, of the new one in torch."""
    names = node.input_names[1:5]
    if not all(build.is_weight(name) for name in names):
        raise node.unsupported("scale, bias, mean and variance must be stored in the file")
    features = build.values(names[0]).numel()
    module = BatchNorm(features, eps=node.attribute("epsilon", 1e-5), momentum=1 - node.attribute("momentum", 0.9))
    module.register_parameter("weight", build.weight(node, 1))
    module.register_parameter("bias", build.weight(node, 2))
    module.running_mean = build.values(names[2]).float()
    module.running_var = build.values(names[3]).float()
    result = build.module(node, module, node.input(0))
    build.sources[f"{result.target}.running_mean"] = Source(names[2])
    build.sources[f"{result.target}.running_var"] = Source(names[3])
    return result
