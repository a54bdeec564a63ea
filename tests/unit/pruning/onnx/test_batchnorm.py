"""BatchNormalization put back where it was folded: the identity at first, gone at delivery."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pruning.onnx.agree import compare
from pruning.onnx.analyse import analyse
from pruning.onnx.batchnorm import fold, insert, is_folded
from pruning.onnx.vet import vet
from pruning.onnx.writeback import write_back
from tests.conftest import DATA


def chain(convolutions: int, kind: str = "Relu") -> bytes:
    """Convolutions with biases, the second one depthwise, and a head."""
    rng = np.random.default_rng(0)
    nodes, tensors, value = [], [], "x"
    for i in range(convolutions):
        group = 4 if i == 1 else 1
        channels = 2 if i == 0 else 4 // group
        tensors.append(numpy_helper.from_array(rng.standard_normal((4, channels, 3, 3)).astype(np.float32), f"w{i}"))
        tensors.append(numpy_helper.from_array(rng.standard_normal(4).astype(np.float32), f"b{i}"))
        nodes.append(
            helper.make_node("Conv", [value, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", pads=[1] * 4, group=group)
        )
        nodes.append(helper.make_node(kind, [f"c{i}"], [f"r{i}"]))
        value = f"r{i}"
    nodes += [helper.make_node("GlobalAveragePool", [value], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", ["N", 2, 6, 6]), ("y", ["N", 4]))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def batches(seed: int = 0) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [{"x": torch.randn(16, 2, 6, 6, generator=generator)} for _ in range(3)]


def output(network, x) -> torch.Tensor:
    network.module.eval()
    with torch.no_grad():
        return network(x)["y"]


def test_no_output_changes_when_it_is_inserted():
    _, network = analyse(vet(chain(4)))
    x = batches(1)[0]
    before = output(network, x)
    insert(network, batches())
    assert len(network.inserted) == 4
    assert torch.allclose(output(network, x), before, rtol=1e-5, atol=1e-5)


def test_it_holds_the_statistics_of_its_batches():
    """In training mode, on the batches that it was calibrated on, it changes nothing either."""
    _, network = analyse(vet(chain(1)))
    whole = {"x": torch.cat([b["x"] for b in batches()])}
    before = output(network, whole)
    insert(network, batches())
    network.module.train()
    assert torch.allclose(network(whole)["y"], before, rtol=1e-4, atol=1e-4)


def test_after_training_it_is_folded_into_the_file():
    model = vet(chain(4))
    _, network = analyse(model)
    insert(network, batches())
    trained = [p for p in network.module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 1e-2)
    network.module.train()
    for batch in batches(2) * 3:
        optimizer.zero_grad()
        network(batch)["y"].square().mean().backward()
        optimizer.step()
    x = batches(3)[0]
    expected = output(network, x)
    with torch.no_grad():
        network.W()["w0"][0, 0] = 0
    expected = output(network, x)
    fold(network)
    assert not network.inserted and "BatchNorm" not in str(network.module)
    assert torch.allclose(output(network, x), expected, rtol=1e-4, atol=1e-5)
    assert not network.W()["w0"][0, 0].any()
    written = write_back(model, network)
    agreement = compare(written.SerializeToString(), network, {"x": x["x"].numpy()})
    assert agreement is not None and agreement.relative < 1e-5
    assert [n.SerializeToString() for n in written.graph.node] == [n.SerializeToString() for n in model.graph.node]


def test_biases_of_layers_are_those_of_the_inserted_while_it_is_there():
    _, network = analyse(vet(chain(4)))
    before = dict(network.biases)
    insert(network, batches())
    assert all(name.endswith("_bn.bias") for name in network.biases.values())
    fold(network)
    assert network.biases == before


@pytest.mark.parametrize(
    ("path", "expected"),
    [("models/cifar10_resnet__resnet_4b.onnx", True), ("resnet20.onnx", False), ("lenet5.onnx", False)],
)
def test_where_it_was_folded(path, expected):
    assert is_folded(analyse(vet((DATA / path).read_bytes()))[1]) is expected
