"""Files that are made to harm, by name: HOSTILE builds each in code, none is kept as a file."""

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.unit.pruning.onnx.crafted import (
    FLOAT,
    HUGE,
    INITIALIZER_OF_GRAPH,
    INPUT_OF_GRAPH,
    NODE_OF_GRAPH,
    Build,
    after,
    appended,
    attribute,
    branch,
    cycle,
    deep_graphs,
    deep_type,
    doubling,
    external,
    external_sparse,
    external_weight,
    field,
    first,
    floats_of,
    folded,
    functions,
    if_,
    ints,
    loop,
    nested_ifs,
    no,
    node,
    number,
    opsets,
    products,
    put,
    relus,
    renamed,
    scan,
    shape_of_input,
    sparse_attribute,
    tiny,
    typed,
    unnamed,
    weight_of,
)

ELSEWHERE: dict[str, Build] = {
    "external initializer": tiny(external_weight("weights.bin")),
    "external initializer, absolute path": tiny(external_weight("/etc/passwd")),
    "external initializer, path traversal": tiny(external_weight("../../../../etc/passwd")),
    "external data said, location default": tiny(lambda m: weight_of(m).external_data.add(key="location", value="x")),
    "external attribute": tiny(
        lambda m: m.graph.node.append(helper.make_node("Constant", [], ["k"], value=external("../secret")))
    ),
    "external attribute in a list": tiny(
        lambda m: m.graph.node[2].attribute.append(
            AttributeProto(name="ts", type=AttributeProto.TENSORS, tensors=[external("../secret")])
        )
    ),
    "external initializer of a subgraph": after(
        if_(branch(node("Add", "h hidden", "b"), tensors=[external("/etc/passwd")])),
        tensors=[number("c", 1, np.bool_)],
    ),
    "external attribute of a subgraph": after(
        if_(branch(helper.make_node("Constant", [], ["b"], value=external("/etc/passwd")))),
        tensors=[number("c", 1, np.bool_)],
    ),
    "external sparse initializer": tiny(external_sparse),
}

NESTED: dict[str, Build] = {
    "functions that call 2^30 times": functions({f"f{i}": [f"f{i + 1}"] * 2 for i in range(30)} | {"f30": ["Neg"]}),
    "function that calls itself": functions({"f0": ["f0"]}),
    "functions that call each other": functions({"f0": ["f1"], "f1": ["f0"]}),
    "function in place of a standard operator": functions({"Relu": ["Neg"]}, domain="", called="Relu"),
    "function that nobody calls": tiny(lambda m: m.functions.add(name="f", domain="d")),
    "If": nested_ifs(0),
    "If in If, 25 levels": nested_ifs(25),
    "graph in graph, 30 levels": appended(deep_graphs(30)),
    "graph in graph, 120 levels": appended(deep_graphs(120)),
    "graph in graph, 10,000 levels": appended(deep_graphs(10_000)),
    "sequence of sequences, 40 levels": appended(deep_type(40)),
    "sequence of sequences, 10,000 levels": appended(deep_type(10_000)),
    "Loop of 2^60 trips": tiny(loop),
    "Scan": tiny(scan),
    "training graph": tiny(
        lambda m: m.training_info.add().algorithm.node.append(helper.make_node("Neg", ["a"], ["b"]))
    ),
    "training_info, empty": tiny(lambda m: m.training_info.add()),
}

LARGE: dict[str, Build] = {
    "Concat doubles what it is given, 40 times": doubling("h", 1),
    "Concat doubles the batch, 40 times": doubling("h", 0),
    "Concat doubles a constant, 40 times": doubling("s", 0, number("s", [1.0])),  # type: ignore[arg-type]
    "Concat of 10^6 times the same": after(helper.make_node("Concat", ["h"] * 1_000_000, ["y"], "concat", axis=1)),
    "Expand of a constant": folded("Expand", "c s", number("c", 1), ints("s", HUGE)),
    "Expand at run time": after(node("Expand", "h s"), tensors=[ints("s", HUGE, 1, 1, 1, 1)]),
    "Tile of a constant": folded("Tile", "c s", number("c", [1.0]), ints("s", HUGE)),  # type: ignore[arg-type]
    "Tile at run time": after(node("Tile", "h s"), tensors=[ints("s", 1, 1, 2**18, 2**18)]),
    "ConstantOfShape": folded("ConstantOfShape", "s", ints("s", HUGE)),
    "ConstantOfShape of rank 2": folded("ConstantOfShape", "s", ints("s", 2**18, 2**18)),
    "ConstantOfShape whose size overflows": folded("ConstantOfShape", "s", ints("s", 2**33, 2**33)),
    "ConstantOfShape at run time": after(
        node("Shape", "h", "n"),
        node("Mul", "n big", "s"),
        node("ConstantOfShape", "s", "k"),
        node("Add", "h k"),
        tensors=[ints("big", 2**10)],
    ),
    "Range": folded("Range", "a b c", *(number(n, v, np.int64) for n, v in zip("abc", (0, 2**40, 1), strict=True))),
    "Range with a step of 0": folded(
        "Range", "a b c", *(number(n, v, np.int64) for n, v in zip("abc", (0, 9, 0), strict=True))
    ),
    "Resize to sizes": after(node("Resize", "h _ _ s"), tensors=[ints("s", 1, 4, 2**18, 2**18)]),
    "Resize by scales": after(
        node("Resize", "h _ s"), tensors=[numpy_helper.from_array(np.array([1, 1, 1e5, 1e5], np.float32), "s")]
    ),
    "Pad of a constant": folded("Pad", "c p", number("c", [1.0]), ints("p", 0, HUGE)),  # type: ignore[arg-type]
    "Pad at run time": after(node("Pad", "h p"), tensors=[ints("p", 0, 0, 0, 0, 0, 0, HUGE, 1)]),
    "Pad that overflows": after(node("Pad", "h p"), tensors=[ints("p", 0, 0, 0, 2**63 - 1, 0, 0, 0, 2**63 - 1)]),
    "Conv padded hugely": after(node("Conv", "h v", pads=[2**20] * 4), tensors=[ints("v", 1)]),
    "Conv padded on one side": after(node("Conv", "h v", pads=[1, 1, 1, 2**20]), tensors=[ints("v", 1)]),
    "MaxPool padded hugely": after(node("MaxPool", "h", kernel_shape=[2**20] * 2, pads=[2**19] * 4)),
    "AveragePool padded hugely": after(
        node("AveragePool", "h", kernel_shape=[2**31] * 2, pads=[2**30] * 4, count_include_pad=1)
    ),
    "AveragePool padded hugely, opset 20": after(
        node("AveragePool", "h", kernel_shape=[2**31] * 2, pads=[2**30] * 4, count_include_pad=1), opset=20
    ),
    "OneHot": folded("OneHot", "i d v", ints("i", 1), number("d", 2**40, np.int64), number("v", [0.0, 1.0])),  # type: ignore[arg-type]
    "two constants broadcast": after(
        node("ConstantOfShape", "a", "p"),
        node("ConstantOfShape", "b", "q"),
        node("Add", "p q", "r"),
        node("ReduceMean", "r", "m", keepdims=0),
        node("Add", "h m"),
        tensors=[ints("a", 2**18, 1), ints("b", 1, 2**18)],
    ),
    "h broadcast against a constant": after(
        node("ConstantOfShape", "a", "p"), node("Add", "h p"), tensors=[ints("a", 2**24, 1, 1, 1, 1)]
    ),
    "400 products of constants": products(2048, 400),
    "a product of 65,536 x 65,536": products(65_536, 1),
    "input of 2^40 features": tiny(shape_of_input("N", 1, 2**20, 2**20)),
    "input of 2^62 features": tiny(shape_of_input("N", 2**62)),
    "input whose size overflows": tiny(shape_of_input("N", 2**33, 2**33, 2**33)),
    "input with 40 unknown axes": tiny(shape_of_input(*(f"d{i}" for i in range(41)))),
    "input with a negative axis": tiny(shape_of_input("N", -5, 6, 6)),
    "input with an axis of 0": tiny(shape_of_input("N", 1, 0, 6)),
    "input of rank 10,000": tiny(shape_of_input(*[1] * 10_000)),
    "fixed batch of 2^40": tiny(shape_of_input(2**40, 1, 6, 6)),
    "fixed batch of 10^8": tiny(shape_of_input(10**8, 1, 6, 6)),
    "10^6 nodes": appended(field(NODE_OF_GRAPH, b"") * 1_000_000),
    "10^6 initializers": appended(field(INITIALIZER_OF_GRAPH, b"") * 1_000_000),
    "10^6 inputs": appended(field(INPUT_OF_GRAPH, b"") * 1_000_000),
    "10^6 opsets": tiny(lambda m: m.MergeFromString(field(8, b"") * 1_000_000)),
    "49,000 times Relu": relus(49_000),
    "3,000 times Relu": relus(3_000),
    "a name of 10^6 characters": tiny(first("name", "n" * 10**6)),
    "an operator of 10^6 characters": tiny(first("op_type", "O" * 10**6)),
    "10 MB of metadata": tiny(lambda m: m.metadata_props.add(key="k" * 10**6, value="v" * 10**7)),
}

TENSORS: dict[str, Build] = {
    "dims overflow": tiny(put(dims=[2**33, 2**33])),
    "dims of 2^62": tiny(put(dims=[2**62])),
    "dims of 2^40": tiny(put(dims=[2**40])),
    "dims negative": tiny(put(dims=[-8, 1, 3, 3])),
    "dims whose product is right but negative": tiny(put(dims=[-8, -1, 3, 3])),
    "dims of rank 100,000": tiny(put(dims=[1] * 100_000)),
    "raw_data longer": tiny(lambda m: put(raw_data=weight_of(m).raw_data + b"1234")(m)),
    "raw_data shorter": tiny(lambda m: put(raw_data=weight_of(m).raw_data[:-1])(m)),
    "raw_data missing": tiny(lambda m: weight_of(m).ClearField("raw_data")),
    "raw_data and float_data": tiny(put(float_data=[1.0])),
    "integers without their data": after(
        node("Reshape", "h s"), tensors=[TensorProto(name="s", data_type=TensorProto.INT64, dims=[2])]
    ),
    "float_data too few": tiny(typed(FLOAT, float_data=[1.0] * 71)),
    "float_data too many": tiny(typed(FLOAT, float_data=[1.0] * 73)),
    "floats in int64_data": tiny(typed(FLOAT, int64_data=[1] * 72)),
    "fp16 in int32_data that overflows": tiny(typed(TensorProto.FLOAT16, int32_data=[2**31 - 1] * 72)),
    "strings": tiny(typed(TensorProto.STRING, string_data=[b"x"] * 72)),
    "element type 99": tiny(put(data_type=99)),
    "element type 0": tiny(put(data_type=0)),
    "element type -1": tiny(put(data_type=-1)),
    "complex weights": tiny(typed(TensorProto.COMPLEX64, float_data=[1.0] * 144)),
    "int4 weights": tiny(floats_of(TensorProto.INT4)),
    "uint4 weights": tiny(floats_of(TensorProto.UINT4)),
    "float4 weights": tiny(floats_of(TensorProto.FLOAT4E2M1)),
    "float8 weights": tiny(floats_of(TensorProto.FLOAT8E4M3FN)),
    "float8 weights that are not a number": tiny(
        lambda m: (floats_of(TensorProto.FLOAT8E5M2)(m), put(raw_data=b"\x7f" * 72)(m))
    ),
    "bfloat16 weights": tiny(floats_of(TensorProto.BFLOAT16)),
    "int8 weights": tiny(floats_of(TensorProto.INT8)),
    "NaN": tiny(put(raw_data=np.full(72, np.nan, np.float32).tobytes())),
    "infinity": tiny(put(raw_data=np.full(72, np.inf, np.float32).tobytes())),
    "infinity in double": tiny(put(data_type=TensorProto.DOUBLE, raw_data=np.full(72, np.inf).tobytes())),
    "infinity in bfloat16": tiny(put(data_type=TensorProto.BFLOAT16, raw_data=b"\x80\x7f" * 72)),
    "NaN in a Constant": after(node("Constant", "", "k", value=number("k", np.nan)), node("Mul", "h k")),
    "NaN as value_float": after(node("Constant", "", "k", value_float=float("nan")), node("Mul", "h k")),
    "negative variance": tiny(
        lambda m: m.graph.initializer[4].CopyFrom(numpy_helper.from_array(-np.ones(8, np.float32), "bn.v"))
    ),
    "largest floats": tiny(put(raw_data=np.full(72, 3e38, np.float32).tobytes())),
    "segment": tiny(lambda m: setattr(weight_of(m).segment, "end", HUGE)),
    "sparse initializer": tiny(lambda m: m.graph.sparse_initializer.add()),
    "sparse attribute": tiny(sparse_attribute),
}

STRUCTURE: dict[str, Build] = {
    "opset 0": tiny(opsets(("", 0))),
    "opset -1": tiny(opsets(("", -1))),
    "opset 2^62": tiny(opsets(("", 2**62))),
    "opset missing": tiny(opsets()),
    "opset of another domain only": tiny(opsets(("ai.onnx.ml", 3))),
    "two opsets of one domain": tiny(opsets(("", 17), ("", 9))),
    "one domain under both its names": tiny(opsets(("", 17), ("ai.onnx", 9))),
    "IR 2^62": tiny(lambda m: setattr(m, "ir_version", 2**62)),
    "IR -1": tiny(lambda m: setattr(m, "ir_version", -1)),
    "IR 1": tiny(lambda m: setattr(m, "ir_version", 1)),
    "domain com.microsoft": tiny(first("domain", "com.microsoft")),
    "domain ai.onnx.ml": tiny(
        lambda m: (first("domain", "ai.onnx.ml")(m), m.opset_import.add(domain="ai.onnx.ml", version=3))
    ),
    "domain ai.onnx.training": tiny(first("domain", "ai.onnx.preview.training")),
    "cycle": tiny(cycle),
    "node that reads itself": tiny(lambda m: m.graph.node[2].input.__setitem__(0, "r")),
    "nodes in reverse order": tiny(
        lambda m: (lambda nodes: (m.graph.ClearField("node"), m.graph.node.extend(nodes)))(list(m.graph.node)[::-1])
    ),
    "two nodes with one output": tiny(lambda m: m.graph.node.append(helper.make_node("Relu", ["c"], ["n"]))),
    "one output twice in a node": tiny(lambda m: m.graph.node[4].output.append("f")),
    "graph output twice": tiny(lambda m: m.graph.output.append(m.graph.output[0])),
    "graph input twice": tiny(lambda m: m.graph.input.append(m.graph.input[0])),
    "initializer twice": tiny(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
    "node writes over the input": tiny(lambda m: m.graph.node[2].output.__setitem__(0, "image")),
    "node writes over a weight": tiny(lambda m: m.graph.node[2].output.__setitem__(0, "fc.weight")),
    "input that nobody made": tiny(lambda m: m.graph.node[2].input.__setitem__(0, "nowhere")),
    "output that nobody made": tiny(lambda m: setattr(m.graph.output[0], "name", "nowhere")),
    "output is the input": tiny(lambda m: setattr(m.graph.output[0], "name", "image")),
    "output is a weight": tiny(lambda m: setattr(m.graph.output[0], "name", "fc.weight")),
    "output is a weight that no node reads": tiny(
        lambda m: (setattr(m.graph.output[0], "name", "t"), m.graph.initializer.append(ints("t", 1)))
    ),
    "weight is also an input": tiny(
        lambda m: m.graph.input.append(helper.make_tensor_value_info("fc.bias", FLOAT, [3]))
    ),
    "empty names": tiny(
        lambda m: (m.graph.node[2].output.__setitem__(0, ""), m.graph.node[3].input.__setitem__(0, ""))
    ),
    "empty name of an initializer": tiny(put(name="")),
    "empty name of an input": tiny(lambda m: setattr(m.graph.input[0], "name", "")),
    "node without outputs": tiny(lambda m: m.graph.node[2].ClearField("output")),
    "node without inputs": tiny(lambda m: m.graph.node[2].ClearField("input")),
    "node with too many inputs": tiny(lambda m: m.graph.node[2].input.extend(["n"] * 9)),
    "node with too many outputs": tiny(lambda m: m.graph.node[2].output.extend([f"o{i}" for i in range(99)])),
    "node without an operator": tiny(first("op_type", "")),
    "no nodes": tiny(no("node")),
    "no inputs": tiny(no("input")),
    "no outputs": tiny(no("output")),
    "no inputs, no outputs": tiny(no("input", "output")),
    "no graph": tiny(lambda m: m.ClearField("graph")),
    "input without a type": tiny(lambda m: m.graph.input[0].ClearField("type")),
    "input without a shape": tiny(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")),
    "input that is a sequence": tiny(
        lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("image", FLOAT, [1]))
    ),
    "input of strings": tiny(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING)),
    "input of type 99": tiny(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 99)),
    "output of type 99": tiny(lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 99)),
    "output of a wrong shape": tiny(
        lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", HUGE)
    ),
    "a name that is not UTF-8": renamed(b"conv1.weight", b"conv1.wei\xff\xfe\x80"),
    "an operator that is not UTF-8": renamed(b"Flatten", b"Fla\xff\xfe\x80n"),
    "an attribute that is not UTF-8": renamed(b"kernel_shape", b"kernel\xff\xfe\x80ape"),
    "an output that is not UTF-8": renamed(b"logits", b"log\xff\xfe\x80"),
    "an output of a node without a name that is not UTF-8": lambda: unnamed().replace(b"logits", b"log\xff\xfe\x80"),
    "an input that is not UTF-8": renamed(b"image", b"im\xff\xfe\x80"),
    "a name with line breaks and zeros": tiny(first("name", "a\nb\r\0\x1b[31m<script>")),
    "an operator with line breaks": tiny(first("op_type", "a\nb\r\0\x1b[31m<script>")),
    "all zeros": lambda: bytes(1000),
    "all ones": lambda: b"\xff" * 1000,
    "a length beyond the end": lambda: b"\x3a\xff\xff\xff\xff\x07" + b"x" * 100,
}

ATTRIBUTES: dict[str, Build] = {
    "pads as floats": tiny(attribute(0, "pads", [1.0, 1.0, 1.0, 1.0])),
    "pads as a string": tiny(attribute(0, "pads", "1111")),
    "pads as a tensor": tiny(attribute(0, "pads", ints("p", 1, 1, 1, 1))),
    "pads too few": tiny(attribute(0, "pads", [1, 1, 1])),
    "pads negative": tiny(attribute(0, "pads", [-9, -9, -9, -9])),
    "pads of 2^60": tiny(attribute(0, "pads", [2**60] * 4)),
    "strides of 0": tiny(attribute(0, "strides", [0, 0])),
    "strides negative": tiny(attribute(0, "strides", [-1, -1])),
    "strides of 2^60": tiny(attribute(0, "strides", [2**60, 2**60])),
    "dilations of 0": tiny(attribute(0, "dilations", [0, 0])),
    "dilations of 2^31": tiny(attribute(0, "dilations", [2**31, 2**31])),
    "kernel_shape that is not the weight's": tiny(attribute(0, "kernel_shape", [2**31, 2**31])),
    "kernel_shape of a pool": tiny(attribute(3, "kernel_shape", [2**31, 2**31])),
    "kernel_shape of 0": tiny(attribute(3, "kernel_shape", [0, 0])),
    "kernel_shape of 10^5 axes": tiny(attribute(3, "kernel_shape", [1] * 10**5)),
    "kernel_shape missing": tiny(lambda m: m.graph.node[3].ClearField("attribute")),
    "group of 0": tiny(attribute(0, "group", 0)),
    "group of -1": tiny(attribute(0, "group", -1)),
    "group of 2^62": tiny(attribute(0, "group", 2**62)),
    "auto_pad unknown": tiny(attribute(0, "auto_pad", "SOMEHOW")),
    "auto_pad not UTF-8": tiny(attribute(0, "auto_pad", b"\xff\xfe")),
    "an attribute that nobody knows": tiny(attribute(0, "surprise", 1)),
    "an attribute twice": tiny(lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0])),
    "an attribute of a function": tiny(lambda m: setattr(m.graph.node[0].attribute[0], "ref_attr_name", "pads")),
    "an attribute of type 99": tiny(lambda m: m.graph.node[0].attribute.append(AttributeProto(name="group", i=1))),
    "ceil_mode as a string": tiny(attribute(3, "ceil_mode", "yes")),
    "epsilon of NaN": tiny(attribute(1, "epsilon", float("nan"))),
    "epsilon negative": tiny(attribute(1, "epsilon", -5.0)),
    "momentum of infinity": tiny(attribute(1, "momentum", float("inf"))),
    "LayerNormalization of axis 2^31": after(  # shape inference crashes
        node("LayerNormalization", "h g", axis=2**31),
        tensors=[number("g", [1.0] * 8)],  # type: ignore[arg-type]
    ),
    "Einsum of an equation that is none": after(node("Einsum", "h", equation=b"i\x96\xd5>i")),  # it hangs
    "dims of 0 and 2^62": tiny(lambda m: m.graph.initializer[0].dims.extend([0, 2**62, 2**62])),
    "a batch of 2^20 and an axis known only at run time": tiny(
        lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", FLOAT, [2**20, 1, "H", 6]))
    ),
    "axis of 2^62": tiny(attribute(4, "axis", 2**62)),
    "axis of -9": tiny(attribute(4, "axis", -9)),
    "transB of 2^62": tiny(attribute(5, "transB", 2**62)),
    "alpha of NaN": after(node("LeakyRelu", "h", alpha=float("nan"))),
    "Concat axis out of range": after(node("Concat", "h h", axis=-9)),
    "Softmax axis out of range": after(node("Softmax", "h", axis=99)),
    "Transpose with an axis twice": after(node("Transpose", "h", perm=[0, 0, 1, 1])),
    "Transpose with an axis out of range": after(node("Transpose", "h", perm=[0, 1, 2, 2**40])),
    "Cast to type 99": after(node("Cast", "h", to=99)),
    "Cast to strings": after(node("Cast", "h", to=TensorProto.STRING)),
    "Constant with two values": tiny(
        lambda m: m.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value_float=1.0, value_int=1))
    ),
    "Constant with none": tiny(lambda m: m.graph.node.insert(0, helper.make_node("Constant", [], ["k"]))),
    "Constant of strings": tiny(
        lambda m: m.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value_strings=["a"]))
    ),
}

VALUES: dict[str, Build] = {
    "Reshape to 0 elements": after(node("Reshape", "h s", allowzero=1), tensors=[ints("s", 0, 0, 0, 0)]),
    "Reshape to -2": after(node("Reshape", "h s"), tensors=[ints("s", -2, 4, 8, 8)]),
    "Reshape to -1 twice": after(node("Reshape", "h s"), tensors=[ints("s", -1, -1, 8, 8)]),
    "Reshape that overflows": after(node("Reshape", "h s"), tensors=[ints("s", 2**62, 2**62, 16, 1)]),
    "Reshape keeps an axis that is not there": after(node("Reshape", "h s"), tensors=[ints("s", 1, 1, 1, 1, -1, 0, 0)]),
    "Reshape to floats": after(node("Reshape", "h s"), tensors=[number("s", [1.0])]),  # type: ignore[arg-type]
    "Reshape to 10^5 axes": after(node("Reshape", "h s"), tensors=[ints("s", *[1] * 10**5)]),
    "Gather out of range": folded("Gather", "c i", ints("c", 1, 2), ints("i", 99)),
    "Gather out of range at run time": after(node("Gather", "h i", axis=1), tensors=[ints("i", 2**62)]),
    "Gather below range": folded("Gather", "c i", ints("c", 1, 2), ints("i", -(2**63))),
    "Slice with a step of 0": after(
        node("Slice", "h a b c d"), tensors=[ints("a", 0), ints("b", 9), ints("c", 1), ints("d", 0)]
    ),
    "Slice with a step of -2^63": after(
        node("Slice", "h a b c d"), tensors=[ints("a", 9), ints("b", -9), ints("c", 2), ints("d", -(2**63))]
    ),
    "Slice on axis 99": after(node("Slice", "h a b c"), tensors=[ints("a", 0), ints("b", 9), ints("c", 99)]),
    "Slice to nothing": after(node("Slice", "h a b c"), tensors=[ints("a", 5), ints("b", 5), ints("c", 2)]),
    "Slice of bounds that do not match": after(node("Slice", "h a b"), tensors=[ints("a", 0, 0, 0), ints("b", 9)]),
    "Squeeze of an axis that is not 1": after(node("Squeeze", "h a"), tensors=[ints("a", 1)]),
    "Unsqueeze of 10^4 axes": after(node("Unsqueeze", "h a"), tensors=[ints("a", *range(10**4))]),
    "Unsqueeze of one axis twice": after(node("Unsqueeze", "h a"), tensors=[ints("a", 1, 1)]),
    "Unsqueeze of axis 2^62": after(node("Unsqueeze", "h a"), tensors=[ints("a", 2**62)]),
    "ReduceMean of axis 99": after(node("ReduceMean", "h a"), tensors=[ints("a", 99)]),
    "Pad by negative widths": after(node("Pad", "h p"), tensors=[ints("p", 0, 0, -99, -99, 0, 0, -99, -99)]),
    "Pad of axis 99": after(node("Pad", "h p _ a"), tensors=[ints("p", 1, 1), ints("a", 99)]),
    "Pad by too few widths": after(node("Pad", "h p"), tensors=[ints("p", 1)]),
    "Clip by a vector": after(node("Clip", "h a"), tensors=[ints("a", 1, 2)]),
    "integers divided by 0": folded("Div", "a b", ints("a", 1), ints("b", 0)),
    "-2^63 divided by -1": folded("Div", "a b", ints("a", -(2**63)), ints("b", -1)),
    "integers modulo 0": folded("Mod", "a b", ints("a", 1), ints("b", 0)),
    "-2^63 modulo -1": folded("Mod", "a b", ints("a", -(2**63)), ints("b", -1)),
    "shape divided by 0 at run time": after(
        node("Shape", "h", "n"), node("Div", "n z", "s"), node("Reshape", "h s"), tensors=[ints("z", 0)]
    ),
    "-2^63 divided by -1 at run time": after(
        node("Cast", "h", "i", to=TensorProto.INT64),
        node("Mul", "i z", "a"),
        node("Add", "a m", "b"),
        node("Div", "b n", "c"),
        node("Cast", "c", to=FLOAT),
        tensors=[ints("z", 0), ints("m", -(2**63)), ints("n", -1)],
    ),
    "integers divided by 0 at run time": after(
        node("Cast", "h", "i", to=TensorProto.INT64),
        node("Mul", "i z", "a"),
        node("Div", "i a", "b"),
        node("Cast", "b", to=FLOAT),
        tensors=[ints("z", 0)],
    ),
    "shape of -1 by ConstantOfShape": folded("ConstantOfShape", "s", ints("s", -1)),
    "ConstantOfShape of a matrix of shapes": folded(
        "ConstantOfShape", "s", numpy_helper.from_array(np.ones((2, 2), np.int64), "s")
    ),
    "ConstantOfShape of a column of shapes": folded(
        "ConstantOfShape", "s", numpy_helper.from_array(np.ones((2, 1), np.int64), "s")
    ),
    "ConstantOfShape of rank 10,000": folded("ConstantOfShape", "s", ints("s", *[1] * 10_000)),
    "Cast of infinity to a shape": after(
        node("Constant", "", "k", value_floats=[1e30]),
        node("Cast", "k", "s", to=TensorProto.INT64),
        node("ConstantOfShape", "s", "z"),
        node("Add", "h z"),
    ),
    "Conv of a weight that is not there": after(node("Conv", "h _")),
    "Conv of a weight of rank 0": after(node("Conv", "h v"), tensors=[number("v", 1)]),
    "Conv of a weight of rank 12": after(
        node("Conv", "h v"), tensors=[numpy_helper.from_array(np.ones([4, 4] + [1] * 10, np.float32), "v")]
    ),
    "Conv of 0 channels": after(
        node("Conv", "h v"), tensors=[numpy_helper.from_array(np.ones([0, 4, 1, 1], np.float32), "v")]
    ),
    "Conv of other channels": after(
        node("Conv", "h v"), tensors=[numpy_helper.from_array(np.ones([2, 9, 1, 1], np.float32), "v")]
    ),
    "Conv by integers": after(
        node("Conv", "h v"), tensors=[numpy_helper.from_array(np.ones([2, 4, 1, 1], np.int64), "v")]
    ),
    "Gemm of rank 4": after(node("Gemm", "h v"), tensors=[numpy_helper.from_array(np.ones([8, 8], np.float32), "v")]),
    "BatchNormalization of other channels": after(
        node("BatchNormalization", "h a b c d"),
        tensors=[
            numpy_helper.from_array(np.ones(n, np.float32), name) for n, name in zip((4, 3, 9, 1), "abcd", strict=True)
        ],
    ),
}

HOSTILE: dict[str, Build] = ELSEWHERE | NESTED | LARGE | TENSORS | STRUCTURE | ATTRIBUTES | VALUES
HARMLESS: set[str] = set()

# each may be taken, and may be refused: it computes something finite, in little time and memory
HARMLESS = {
    "10 MB of metadata",
    "3,000 times Relu",
    "49,000 times Relu",
    "Constant with two values",
    "ConstantOfShape of a column of shapes",
    "If",
    "MaxPool padded hugely",
    "Slice to nothing",
    "Slice with a step of -2^63",
    "a name of 10^6 characters",
    "a name with line breaks and zeros",
    "an attribute of a function",
    "bfloat16 weights",
    "function that nobody calls",
    "momentum of infinity",
    "output of a wrong shape",
    "raw_data and float_data",
    "training_info, empty",
    "weight is also an input",
}
