"""A model made another at the level of its protobuf, so that what comes out still parses and goes deep."""

import random
from collections.abc import Callable, Sequence

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, defs, helper, numpy_helper

from pruning.onnx.ops import CONVERTERS

Mutation = Callable[[random.Random, ModelProto], None]

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    4,
    7,
    8,
    16,
    -2,
    -3,
    64,
    1000,
    65_536,
    2**20,
    2**31 - 1,
    2**31,
    2**36,
    2**62,
    2**63 - 1,
    -(2**63),
)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"))
TYPES = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17, 21, 22, 23, 99)
OPERATORS = [*CONVERTERS, "If", "NonZero", "TopK"]
MOST_NODES = 60


def mutate(content: bytes, good: Sequence[bytes], seed: int) -> bytes | None:
    """Up to four mutations of a model, or of one of the good ones; None where it does not parse, or cannot be written.

    What was mutated before is mostly refused by the first rules: beginning anew goes deeper.
    """
    rng = random.Random(seed)
    model = ModelProto()
    try:
        model.ParseFromString(rng.choice(good) if rng.random() < 0.5 else content)
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice(MUTATIONS)(rng, model)
        return model.SerializeToString()
    except Exception:  # noqa: BLE001  # protobuf and its setters, on fields that hold nonsense already
        return None


def change_dimension(rng: random.Random, model: ModelProto) -> None:
    tensor = _tensor(rng, model)
    if tensor.dims and rng.random() < 0.7:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif rng.random() < 0.5:
        tensor.dims.append(rng.choice(NUMBERS))
    else:
        tensor.ClearField("dims")


def reshape_tensor(rng: random.Random, model: ModelProto) -> None:
    """Another small tensor under the same name: valid in itself, and wrong where it is used."""
    tensor = _tensor(rng, model)
    shape = [rng.randint(0, 5) for _ in range(rng.randint(0, 5))]
    tensor.CopyFrom(numpy_helper.from_array(np.ones(shape, np.float32), tensor.name))


def change_integers(rng: random.Random, model: ModelProto) -> None:
    """Shapes, axes and pads that are stored as tensors."""
    found = [t for t in _tensors(model) if t.data_type == TensorProto.INT64 and len(t.raw_data) in range(8, 800, 8)]
    tensor = rng.choice(found) if found else _tensor(rng, model)
    values = [rng.choice(NUMBERS) if rng.random() < 0.4 else rng.randint(-1, 4) for _ in range(rng.randint(1, 5))]
    tensor.CopyFrom(numpy_helper.from_array(np.array(values, np.int64), tensor.name))


def change_type(rng: random.Random, model: ModelProto) -> None:
    if rng.random() < 0.7:
        _tensor(rng, model).data_type = rng.choice(TYPES)
    else:
        rng.choice(model.graph.input).type.tensor_type.elem_type = rng.choice(TYPES)


def change_values(rng: random.Random, model: ModelProto) -> None:
    tensor = _tensor(rng, model)
    tensor.raw_data = np.full(len(tensor.raw_data) // 4, rng.choice(FLOATS), np.float32).tobytes()


def change_attribute(rng: random.Random, model: ModelProto) -> None:
    attributes = [a for node in model.graph.node for a in node.attribute]
    attribute = rng.choice(attributes)
    if attribute.ints and rng.random() < 0.8:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice(FLOATS)
    else:
        attribute.type = rng.randrange(15)  # type: ignore[assignment]


def add_attribute(rng: random.Random, model: ModelProto) -> None:
    """One that its operator knows, with a value of some kind."""
    node = rng.choice(model.graph.node)
    schema = _schema(node.op_type)
    if schema is None or not schema.attributes:
        return
    name = rng.choice(sorted(schema.attributes))
    kept = [a for a in node.attribute if a.name != name]
    several = [rng.choice(NUMBERS) for _ in range(rng.randint(1, 4))]
    value = rng.choice((rng.choice(NUMBERS), rng.randint(-1, 4), rng.choice(FLOATS), several, [1, 1], "SAME_UPPER"))
    node.ClearField("attribute")
    node.attribute.extend([*kept, helper.make_attribute(name, value)])  # type: ignore[arg-type]


def drop_attribute(rng: random.Random, model: ModelProto) -> None:
    node = rng.choice([node for node in model.graph.node if node.attribute])
    del node.attribute[rng.randrange(len(node.attribute))]


def change_operator(rng: random.Random, model: ModelProto) -> None:
    rng.choice(model.graph.node).op_type = rng.choice(OPERATORS)


def change_input(rng: random.Random, model: ModelProto) -> None:
    node = rng.choice(model.graph.node)
    if node.input and rng.random() < 0.7:
        node.input[rng.randrange(len(node.input))] = rng.choice([*_names(model), ""])
    elif node.input and rng.random() < 0.5:
        node.input.pop()
    else:
        node.input.append(rng.choice(_names(model)))


def change_output(rng: random.Random, model: ModelProto) -> None:
    node = rng.choice(model.graph.node)
    node.output[rng.randrange(len(node.output))] = rng.choice([*_names(model), "", "new"])


def insert_node(rng: random.Random, model: ModelProto) -> None:
    """An operator between a node and those that read it."""
    at = rng.randrange(len(model.graph.node))
    value = model.graph.node[at].output[0]
    operator = rng.choice(OPERATORS)
    schema = _schema(operator)
    more = [rng.choice(_names(model)) for _ in range(max((schema.min_input if schema else 1) - 1, 0))]
    made = helper.make_node(operator, [value, *more], [f"fuzz{rng.getrandbits(32)}"])
    readers = [(n, i) for n in model.graph.node for i, name in enumerate(n.input) if name == value]
    for node, i in readers:
        node.input[i] = made.output[0]
    if len(model.graph.node) < MOST_NODES:
        model.graph.node.insert(at + 1, made)


def drop_node(rng: random.Random, model: ModelProto) -> None:
    """Those that read it read what it read."""
    at = rng.randrange(len(model.graph.node))
    gone = model.graph.node[at]
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name in gone.output and gone.input:
                node.input[i] = gone.input[0]
    del model.graph.node[at]


def store_number(rng: random.Random, model: ModelProto) -> None:
    """One more initializer, which others may come to read."""
    kind = rng.choice((np.int64, np.float32, np.bool_))
    values = np.array([rng.randint(-2, 9) for _ in range(rng.randint(0, 4))]).astype(kind)
    model.graph.initializer.append(numpy_helper.from_array(values, f"t{rng.randrange(20)}"))


def change_port(rng: random.Random, model: ModelProto) -> None:
    port = rng.choice([*model.graph.input, *model.graph.output])
    dims = port.type.tensor_type.shape.dim
    dim = rng.choice(dims) if dims and rng.random() < 0.8 else dims.add()
    if rng.random() < 0.3:
        dim.dim_param = rng.choice(("N", "M", ""))
    else:
        dim.dim_value = rng.choice(NUMBERS)


def change_version(rng: random.Random, model: ModelProto) -> None:
    if rng.random() < 0.8:
        rng.choice(model.opset_import).version = rng.randint(6, 27)
    else:
        model.ir_version = rng.choice(NUMBERS)


MUTATIONS: tuple[Mutation, ...] = (
    change_dimension,
    reshape_tensor,
    change_integers,
    change_type,
    change_values,
    change_attribute,
    add_attribute,
    add_attribute,
    drop_attribute,
    change_operator,
    change_input,
    change_output,
    insert_node,
    insert_node,
    drop_node,
    store_number,
    change_port,
    change_version,
)


def _tensors(model: ModelProto) -> list[TensorProto]:
    constants = [a.t for node in model.graph.node for a in node.attribute if a.type == AttributeProto.TENSOR]
    return [*model.graph.initializer, *constants]


def _tensor(rng: random.Random, model: ModelProto) -> TensorProto:
    return rng.choice(_tensors(model))


def _names(model: ModelProto) -> list[str]:
    made = [name for node in model.graph.node for name in node.output]
    return [*made, *(t.name for t in model.graph.initializer), *(i.name for i in model.graph.input)]


def _schema(operator: str):  # type: ignore[no-untyped-def]
    try:
        return defs.get_schema(operator)
    except Exception:  # noqa: BLE001  # its own SchemaError, of operators that nobody knows
        return None
