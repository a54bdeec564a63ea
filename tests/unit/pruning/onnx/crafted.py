"""How files that are made to harm are written: as changes of a good one, and byte by byte where onnx refuses to."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.conftest import tiny_model

Build = Callable[[], bytes]
Change = Callable[[ModelProto], object]
FLOAT = TensorProto.FLOAT
HUGE = 2**36
BITS: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4, TensorProto.BFLOAT16: 16}
# field numbers of onnx.proto, for what the Python classes refuse to write
GRAPH_OF_MODEL, NODE_OF_GRAPH, ATTRIBUTE_OF_NODE, GRAPH_OF_ATTRIBUTE = 7, 1, 5, 6
INPUT_OF_GRAPH, INITIALIZER_OF_GRAPH, TYPE_OF_VALUE, SEQUENCE_OF_TYPE, ELEMENT_OF_SEQUENCE = 11, 5, 2, 4, 1


def tiny(change: Change) -> Build:
    """The tiny model with a change."""

    def build() -> bytes:
        model = tiny_model()
        change(model)
        return model.SerializeToString()

    return build


def after(*nodes: NodeProto, tensors: Iterable[TensorProto] = (), opset: int = 18) -> Build:
    """The nodes between h, the output of a convolution of the input x (N, 3, 8, 8), and the output y."""

    def build() -> bytes:
        first = helper.make_node("Conv", ["x", "w"], ["h"], "conv", pads=[1, 1, 1, 1])
        weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
        x = helper.make_tensor_value_info("x", FLOAT, ["N", 3, 8, 8])
        y = helper.make_tensor_value_info("y", FLOAT, [None] * 4)
        graph = helper.make_graph([first, *nodes], "g", [x], [y], [weight, *tensors])
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()

    return build


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> NodeProto:
    """Inputs are the words of a string; _ is one that is left out."""
    return helper.make_node(
        op, ["" if i == "_" else i for i in inputs.split()], [output], f"{op} {output}", **attributes
    )


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def number(name: str, value: float, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def folded(op: str, inputs: str, *tensors: TensorProto, **attributes: Any) -> Build:
    """What an operator makes of constants, shrunk to one number and added to h."""
    made = node(op, inputs, "k", **attributes)
    cast = helper.make_node("Cast", ["k"], ["f"], "cast", to=FLOAT)
    mean = helper.make_node("ReduceMean", ["f"], ["m"], "mean", keepdims=0)
    return after(made, cast, mean, node("Add", "h m"), tensors=tensors)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def appended(content: bytes) -> Build:
    """The tiny model with more fields of its graph."""
    return lambda: tiny_model().SerializeToString() + field(GRAPH_OF_MODEL, content)


def weight_of(model: ModelProto) -> TensorProto:
    return model.graph.initializer[0]


def put(**fields: object) -> Change:
    """Sets fields of the first weight."""

    def change(model: ModelProto) -> None:
        tensor = weight_of(model)
        for name, value in fields.items():
            if isinstance(value, list):
                tensor.ClearField(name)  # type: ignore[arg-type]
                getattr(tensor, name).extend(value)
            else:
                setattr(tensor, name, value)

    return change


def typed(data_type: int, **fields: object) -> Change:
    """The first weight in another type, without its bytes."""
    return lambda m: (weight_of(m).ClearField("raw_data"), put(data_type=data_type, **fields)(m))


def attribute(i: int, name: str, value: object) -> Change:
    """Sets an attribute of the i-th node."""

    def change(model: ModelProto) -> None:
        kept = [a for a in model.graph.node[i].attribute if a.name != name]
        del model.graph.node[i].attribute[:]
        model.graph.node[i].attribute.extend([*kept, helper.make_attribute(name, value)])  # type: ignore[arg-type]

    return change


def first(field_name: str, value: object, i: int = 2) -> Change:
    """Sets a field of the i-th node (a Relu)."""
    return lambda m: setattr(m.graph.node[i], field_name, value)


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="hidden", data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def external_weight(location: str) -> Change:
    def change(model: ModelProto) -> None:
        weight_of(model).ClearField("raw_data")
        weight_of(model).data_location = TensorProto.EXTERNAL
        weight_of(model).external_data.add(key="location", value=location)

    return change


def external_sparse(model: ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(external("/etc/passwd"))
    sparse.indices.CopyFrom(ints("i", 0))
    sparse.dims.append(1)


def branch(*nodes: NodeProto, tensors: Iterable[TensorProto] = ()) -> GraphProto:
    output = helper.make_tensor_value_info("b", FLOAT, None)
    return helper.make_graph(nodes or [node("Identity", "h", "b")], "branch", [], [output], list(tensors))


def if_(body: GraphProto, output: str = "y") -> NodeProto:
    return node("If", "c", output, then_branch=body, else_branch=branch())


def nested_ifs(levels: int) -> Build:
    body = branch()
    for _ in range(levels):
        body = branch(if_(body, "b"))
    return after(if_(body), tensors=[number("c", 1, np.bool_)])


def deep_graphs(levels: int) -> bytes:
    """Fields of a graph that holds a graph that holds a graph."""
    content = b""
    for _ in range(levels):
        content = field(NODE_OF_GRAPH, field(ATTRIBUTE_OF_NODE, field(GRAPH_OF_ATTRIBUTE, content)))
    return content


def deep_type(levels: int) -> bytes:
    """Fields of a graph with an input that is a sequence of sequences of sequences."""
    content = b""
    for _ in range(levels):
        content = field(SEQUENCE_OF_TYPE, field(ELEMENT_OF_SEQUENCE, content))
    return field(INPUT_OF_GRAPH, field(TYPE_OF_VALUE, content))


def functions(bodies: dict[str, list[str]], domain: str = "d", called: str = "f0") -> Build:
    """Functions by name; each calls those in its list one after the other."""

    def build() -> bytes:
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)] if domain else []
        made = []
        for name, callees in bodies.items():
            names = ["a", *(f"v{i}" for i in range(len(callees) - 1)), "z"]
            calls = [
                helper.make_node(callee, [names[i]], [names[i + 1]], domain="" if callee == "Neg" else domain)
                for i, callee in enumerate(callees)
            ]
            made.append(helper.make_function(domain, name, ["a"], ["z"], calls, opsets))
        model = tiny_model()
        model.functions.extend(made)
        model.graph.node[2].op_type, model.graph.node[2].domain = called, domain
        if domain:
            model.opset_import.add(domain=domain, version=1)
        return model.SerializeToString()

    return build


def doubling(start: str, axis: int, *tensors: TensorProto, times: int = 40) -> Build:
    names = [start, *(f"v{i}" for i in range(times - 1)), "k"]
    chain = [helper.make_node("Concat", [a, a], [b], f"concat {b}", axis=axis) for a, b in itertools.pairwise(names)]
    mean = helper.make_node("ReduceMean", ["k"], ["m"], "mean")
    return after(*chain, mean, node("Add", "h m"), tensors=tensors)


def products(side: int, times: int) -> Build:
    """A chain of products of square matrices that no input reaches."""
    first = node("ConstantOfShape", "s", "p0", value=numpy_helper.from_array(np.full(1, 1e-3, np.float32)))
    chain = [helper.make_node("MatMul", [f"p{i}", "p0"], [f"p{i + 1}"], f"m{i}") for i in range(times)]
    mean = node("ReduceMean", f"p{times}", "k", keepdims=0)
    return after(first, *chain, mean, node("Add", "h k"), tensors=[ints("s", side, side)])


def shape_of_input(*dims: int | str | None) -> Change:
    """Another shape of the model's input."""

    def change(model: ModelProto) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", FLOAT, dims))

    return change


def opsets(*versions: tuple[str, int]) -> Change:
    def change(model: ModelProto) -> None:
        del model.opset_import[:]
        for domain, version in versions:
            model.opset_import.add(domain=domain, version=version)

    return change


def no(*fields: str) -> Change:
    """Clears fields of the graph."""
    return lambda m: [m.graph.ClearField(f) for f in fields]  # type: ignore[arg-type]


def loop(model: ModelProto) -> None:
    inputs = [helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("go", TensorProto.BOOL))]
    state = helper.make_tensor_value_info("s", FLOAT, None)
    outputs = [
        helper.make_tensor_value_info("go2", TensorProto.BOOL, []),
        helper.make_tensor_value_info("t", FLOAT, None),
    ]
    steps = [helper.make_node("Identity", ["go"], ["go2"]), helper.make_node("Neg", ["s"], ["t"])]
    body = helper.make_graph(steps, "body", [*inputs, state], outputs)
    model.graph.initializer.extend([number("trips", 2**60, np.int64), number("yes", 1, np.bool_)])
    model.graph.node[2].CopyFrom(helper.make_node("Loop", ["trips", "yes", "n"], ["r"], "loop", body=body))


def scan(model: ModelProto) -> None:
    state = [helper.make_tensor_value_info(n, FLOAT, None) for n in ("s", "e")]
    steps = [helper.make_node("Add", ["s", "e"], ["t"])]
    body = helper.make_graph(steps, "body", state, [helper.make_tensor_value_info("t", FLOAT, None)])
    model.graph.node[2].CopyFrom(helper.make_node("Scan", ["n", "n"], ["r"], "scan", body=body, num_scan_inputs=1))


def cycle(model: ModelProto) -> None:
    model.graph.node[1].input[0] = "r"


def sparse_attribute(model: ModelProto) -> None:
    sparse = helper.make_sparse_tensor(
        number("v", 1).__class__(name="v", data_type=FLOAT, dims=[1], float_data=[1]), ints("i", 0), [HUGE]
    )
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], sparse_value=sparse))


def floats_of(data_type: int) -> Change:
    """The first weight in a type of few bits, with as many bytes as that takes."""

    def change(model: ModelProto) -> None:
        weight_of(model).data_type = data_type
        weight_of(model).raw_data = bytes(8 * 9 * BITS.get(data_type, 8) // 8)

    return change


def renamed(old: bytes, new: bytes) -> Build:
    """Every occurrence of a name in the bytes becomes another of the same length."""
    assert len(old) == len(new)
    return lambda: tiny_model().SerializeToString().replace(old, new)


def relus(number_of: int) -> Build:
    def build() -> bytes:
        names = ["h", *(f"v{i}" for i in range(number_of - 1)), "y"]
        return after(*(helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)))()

    return build


def unnamed() -> bytes:
    """The tiny model without names of its nodes."""
    return tiny(lambda m: [node.ClearField("name") for node in m.graph.node])()
