"""Heads that are dead leave the graph with their queries, keys and values; what is not understood stays."""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.nets.sequences import Bert, Transformer
from pruning.onnx.heads import head_widths
from pruning.onnx.shrink import idle, shrink
from pruning.sparsity.block import Block
from pruning.sparsity.form import Form
from tests.unit.pruning.onnx.test_shrink import outputs
from tests.unit.pruning.onnx.test_weights import ints, made, node, port, tensor

TOLERANCE = 1e-5
TOKENS, FEATURES, STEPS = 50, 24, 16  # as the nets have them
WIDTH, HEADS, CHANNELS = 32, 4, 8
Weights = dict[str, np.ndarray]


class Packed(nn.Module):
    """Queries, keys and values of one layer, taken apart in the ways that users write."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.first, self.norm = way, nn.Linear(FEATURES, WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, steps: Tensor) -> Tensor:
        x = self.norm(self.first(steps))
        n, t, _ = x.shape
        q, k, v = self.parts(self.qkv(x), n, t)
        seen = F.scaled_dot_product_attention(q, k, v) if self.way == "sdpa" else plain_attention(q, k, v)
        return (x + self.out(seen.transpose(1, 2).reshape(n, t, WIDTH))).mean(1)

    def parts(self, y: Tensor, n: int, t: int) -> tuple[Tensor, ...]:
        if self.way in ("unbound", "sdpa"):
            return y.reshape(n, t, 3, HEADS, CHANNELS).permute(2, 0, 3, 1, 4).unbind(0)
        sliced = (y[..., :WIDTH], y[..., WIDTH : 2 * WIDTH], y[..., 2 * WIDTH :])
        parts = {"split": y.split(WIDTH, -1), "chunked": y.chunk(3, -1), "sliced": sliced}[self.way]
        return tuple(part.view(n, t, HEADS, CHANNELS).transpose(1, 2) for part in parts)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q * CHANNELS**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v


NETS: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: Bert(TOKENS),
    "transformer": Transformer,
    **{way: lambda way=way: Packed(way) for way in ("unbound", "sdpa", "split", "chunked", "sliced")},
}
FORMS = [
    (net, dynamo, dynamic) for net in ("bert", "transformer") for dynamo in (True, False) for dynamic in (True, False)
]
WAYS = [*((way, False, True) for way in ("unbound", "sdpa", "split", "sliced")), ("chunked", True, False)]


def feeds(net: str, examples: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(examples)
    if net != "bert":
        return {"steps": rng.standard_normal((examples, length, FEATURES)).astype(np.float32)}
    mask = np.arange(length) < rng.integers(1, length + 1, (examples, 1))
    return {"ids": rng.integers(0, TOKENS, (examples, length)), "attention_mask": mask.astype(np.int64)}


def lengths(net: str, dynamo: bool, dynamic: bool) -> list[tuple[int, int]]:
    """Examples and steps that a file takes: the old exporter writes nn.MultiheadAttention for one number of steps."""
    if not dynamic:
        return [(1, STEPS)]
    return [(2, STEPS), (3, STEPS if net == "transformer" and not dynamo else 5)]


@cache
def exported(net: str, dynamo: bool, dynamic: bool) -> tuple[ModelProto, Weights]:
    """Seeded, no two tensors equal, with the weights by the names that the module has for them."""
    torch.manual_seed(0)
    module = NETS[net]().eval()
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    inputs = {k: torch.from_numpy(v) for k, v in feeds(net, *lengths(net, dynamo, dynamic)[0]).items()}
    axes = {0: "batch", 1: "length"} if lengths(net, dynamo, dynamic)[-1][1] != STEPS else {0: "batch"}
    file: Any = BytesIO()
    arguments: dict[str, Any] = {"input_names": list(inputs), "output_names": ["y"]}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX counterpart
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = tuple(axes for _ in inputs) if dynamic else None
            program = torch.onnx.export(
                module, tuple(inputs.values()), dynamo=True, dynamic_shapes=shapes, verbose=False, **arguments
            )
            assert program is not None
            model = program.model_proto
        else:
            named = dict.fromkeys(inputs, axes) if dynamic else None
            torch.onnx.export(
                module, tuple(inputs.values()), file, dynamo=False, dynamic_axes=named, opset_version=17, **arguments
            )
            model = onnx.load_from_string(file.getvalue())
    torch.backends.mha.set_fastpath_enabled(fast)
    return model, {name: p.detach().numpy() for name, p in module.named_parameters()}


def rows_of(heads: list[int], first: int = 0) -> np.ndarray:
    return first + np.arange(HEADS * CHANNELS).reshape(HEADS, CHANNELS)[heads].reshape(-1)


def stored(model: ModelProto, weight: np.ndarray) -> tuple[TensorProto, bool]:
    """The tensor that holds a module's weight, and whether it is transposed there."""
    for t in model.graph.initializer:
        for turned in (False, True):
            if np.array_equal(numpy_helper.to_array(t), weight.T if turned else weight):
                return t, turned
    raise AssertionError("the weight is not in the file")


def zeroed(model: ModelProto, weight: np.ndarray, indices: np.ndarray, axis: int = 0) -> str:
    """In place. Returns: the tensor's name."""
    found, turned = stored(model, weight)
    values = numpy_helper.to_array(found).copy()
    np.moveaxis(values, (values.ndim - 1 - axis) if turned and values.ndim > 1 else axis, 0)[indices] = 0
    found.CopyFrom(numpy_helper.from_array(values, found.name))
    return found.name


def of_layers(weights: Weights) -> list[dict[str, tuple[str, int]]]:
    """By layer where the rows of values begin and the columns of the output projection, with their names."""
    values = [name for name in weights if name.endswith(("value.weight", "in_proj_weight", "qkv.weight"))]
    outs = [name for name in weights if name.endswith(("out.weight", "out_proj.weight"))]
    firsts = [0 if name.endswith("value.weight") else 2 * WIDTH for name in values]
    return [{"value": (v, first), "out": (o, 0)} for v, first, o in zip(values, firsts, outs, strict=True)]


def without(
    model: ModelProto, weights: Weights, where: str, heads: list[list[int]], rows: slice = slice(None)
) -> ModelProto:
    """A copy with zeros for these heads of each layer, in their values or where the output projection reads them."""
    result = ModelProto()
    result.CopyFrom(model)
    for layer, dead in zip(of_layers(weights), heads, strict=False):
        name, first = layer[where]
        chosen = rows_of(dead, first)[rows]
        zeroed(result, weights[name], chosen, axis=int(where == "out"))
        if where == "value":
            zeroed(result, weights[name.replace("_weight", "_bias").replace(".weight", ".bias")], chosen)
    return result


def dims(model: ModelProto) -> dict[str, tuple[int, ...]]:
    return {t.name: tuple(t.dims) for t in model.graph.initializer}


def difference(model: ModelProto, other: ModelProto, x: dict[str, np.ndarray]) -> float:
    (y,), (z,) = outputs(model, x), outputs(other, x)
    return float(np.abs(y - z).max() / np.abs(y).max())


def left_in(model: ModelProto, smaller: ModelProto, weights: Weights) -> list[tuple[int, int]]:
    """By layer: rows of the values (or of queries, keys and values together), columns of the output projection."""
    found = []
    for layer in of_layers(weights):
        (value, turned), (out, out_turned) = (stored(model, weights[layer[what][0]]) for what in ("value", "out"))
        now = dims(smaller)
        found.append((now[value.name][int(turned)], now[out.name][1 - int(out_turned)]))
    return found


@pytest.mark.parametrize(("net", "dynamo", "dynamic"), [*FORMS, *WAYS])
@pytest.mark.parametrize("where", ["value", "out"])
def test_dead_heads_go_and_outputs_stay(net, dynamo, dynamic, where):
    model, weights = exported(net, dynamo, dynamic)
    layers = len(of_layers(weights))
    masked = without(model, weights, where, [[1, 2], [0]])
    smaller = shrink(masked)
    onnx.checker.check_model(smaller, full_check=True)
    parts = 1 if net == "bert" else 3
    kept = [(parts * CHANNELS * n, CHANNELS * n) for n in (2, 3)][:layers]
    assert left_in(model, smaller, weights) == kept
    for name in (n for n in weights if n.endswith(("query.weight", "query.bias", "key.weight", "key.bias"))):
        tensor, turned = stored(model, weights[name])
        assert dims(smaller)[tensor.name][int(turned and len(tensor.dims) > 1)] == kept["layers.1" in name][0]
    for size in lengths(net, dynamo, dynamic):
        assert difference(masked, smaller, feeds(net, *size)) <= TOLERANCE
    assert shrink(smaller).SerializeToString() == smaller.SerializeToString()


@pytest.mark.parametrize(("net", "dynamo", "dynamic"), [*FORMS, *WAYS])
def test_a_model_with_all_heads_stays_as_it_is(net, dynamo, dynamic):
    model, weights = exported(net, dynamo, dynamic)
    half = without(model, weights, "value", [[1], [3]], slice(CHANNELS // 2))
    for whole in (model, half):
        assert shrink(whole).SerializeToString() == whole.SerializeToString()


@pytest.mark.parametrize(("net", "dynamo", "dynamic"), [FORMS[0], FORMS[3], FORMS[4], FORMS[6]])
def test_one_head_stays_where_all_are_dead(net, dynamo, dynamic):
    model, weights = exported(net, dynamo, dynamic)
    masked = without(model, weights, "value", [[0, 1, 2, 3], [1]])
    smaller = shrink(masked)
    assert left_in(model, smaller, weights)[0][1] == CHANNELS
    assert difference(masked, smaller, feeds(net, *lengths(net, dynamo, dynamic)[0])) <= TOLERANCE


SHAPE = ("N", 6, WIDTH)


def crafted(
    extra: Sequence[NodeProto] = (),
    scores: str = "s",
    seen: str = "c",
    constants: Sequence[TensorProto] = (),
    inputs=(),
) -> ModelProto:
    """Attention over x; `extra` nodes make of the scores "s" those that are softened, of "c" what is projected."""
    nodes = []
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes.append(node("MatMul", ["x", f"{name}.w"], [f"{name}.x"]))
        nodes.append(node("Reshape", [f"{name}.x", "heads"], [f"{name}.h"]))
        nodes.append(node("Transpose", [f"{name}.h"], [name], perm=perm))
    nodes += [node("MatMul", ["q", "k"], ["s"]), *(n for n in extra if "p" not in n.input and "c" not in n.input)]
    nodes += [node("Softmax", [scores], ["p"], axis=-1), node("MatMul", ["p", "v"], ["c"])]
    nodes += [*(n for n in extra if "p" in n.input or "c" in n.input)]
    nodes += [node("Transpose", [seen], ["t"], perm=[0, 2, 1, 3]), node("Reshape", ["t", "whole"], ["r"])]
    nodes += [node("MatMul", ["r", "o.w"], ["y"])]
    weights = [tensor(f"{name}.w", WIDTH, WIDTH) for name in "qkvo"]
    numbers = [ints("heads", 0, 6, HEADS, CHANNELS), ints("whole", 0, -1, WIDTH), *constants]
    return made(nodes, [*weights, *numbers], [port("x", *SHAPE), *inputs], [port("y", "N", 6, WIDTH)])


def headless(model: ModelProto, heads: list[int]) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    found = next(t for t in result.graph.initializer if t.name == "v.w")
    values = numpy_helper.to_array(found).copy()
    values[:, rows_of(heads)] = 0
    found.CopyFrom(numpy_helper.from_array(values, found.name))
    return result


def counting(name: str, axis: int) -> ModelProto:
    """Scores are multiplied by the length of an axis."""
    nodes = [
        node("Shape", [name], ["shape"]),
        node("Gather", ["shape", "place"], ["n"]),
        node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["s", "f"], ["u"]),
    ]
    return crafted(nodes, "u", constants=[numpy_helper.from_array(np.array(axis), "place")])


SCALE, MASK = numpy_helper.from_array(np.array(0.3, np.float32), "scale"), port("m", "N", 1, 1, 6)
LATER = numpy_helper.from_array(np.triu(np.full((6, 6), -1e4, np.float32), 1)[None, None], "later")
SLOPES = tensor("slopes", 1, HEADS, 1, 1)
CUT = {
    "no more": crafted(),
    "a scale": crafted([node("Mul", ["s", "scale"], ["u"])], "u", constants=[SCALE]),
    "a mask for all heads": crafted([node("Add", ["m", "s"], ["u"])], "u", inputs=[MASK]),
    "a stored mask for all heads": crafted([node("Add", ["s", "later"], ["u"])], "u", constants=[LATER]),
    "a stored number for each head": crafted([node("Add", ["s", "slopes"], ["u"])], "u", constants=[SLOPES]),
    "channels of a head that are counted": counting("q", 3),
}
WHOLE = {
    "a mask for each head": crafted([node("Add", ["s", "m"], ["u"])], "u", inputs=[port("m", "N", HEADS, 1, 6)]),
    "a mean over heads": crafted(
        [node("ReduceMean", ["p"], ["mean"], axes=[1], keepdims=1), node("MatMul", ["mean", "v"], ["d"])], seen="d"
    ),
    "heads of scores that are counted": counting("s", 1),
    "heads of queries that are counted": counting("q", 1),
    "a norm over the channels of a head": crafted(
        [node("LayerNormalization", ["c", "norm"], ["d"], axis=-1)], seen="d", constants=[tensor("norm", CHANNELS)]
    ),
    "a layer over the channels of a head": crafted(
        [node("MatMul", ["c", "w"], ["d"])], seen="d", constants=[tensor("w", CHANNELS, CHANNELS)]
    ),
    "softened over heads": crafted([node("Softmax", ["s"], ["u"], axis=1)], "u"),
}


def random(model: ModelProto, examples: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(examples)
    shapes = {p.name: [d.dim_value or examples for d in p.type.tensor_type.shape.dim] for p in model.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", CUT)
def test_what_says_the_same_to_all_heads_lets_them_go(name):
    masked = headless(CUT[name], [1, 3])
    smaller = shrink(masked)
    assert {k: v for k, v in dims(smaller).items() if k in ("q.w", "k.w", "v.w", "o.w")} == {
        **dict.fromkeys(("q.w", "k.w", "v.w"), (WIDTH, 2 * CHANNELS)),
        "o.w": (2 * CHANNELS, WIDTH),
    }
    assert difference(masked, smaller, random(masked, 2)) <= TOLERANCE


@pytest.mark.parametrize("name", WHOLE)
def test_what_reads_heads_in_another_way_keeps_them(name):
    masked = headless(WHOLE[name], [1, 3])
    assert shrink(masked).SerializeToString() == masked.SerializeToString()
    outputs(masked, random(masked, 2))  # it runs


def test_heads_without_queries_look_everywhere_alike():
    model = ModelProto()
    model.CopyFrom(CUT["no more"])
    zeroed(model, numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "q.w")), rows_of([1]), 1)
    assert shrink(model).SerializeToString() == model.SerializeToString()


def test_channels_that_are_only_grouped_for_a_while_stay():
    """Of the channels in a group all would have to go."""
    nodes = [
        node("MatMul", ["x", "a"], ["h"]),
        node("Reshape", ["h", "apart"], ["i"]),
        node("Reshape", ["i", "whole"], ["j"]),
        node("MatMul", ["j", "b"], ["y"]),
    ]
    weights = [tensor("a", WIDTH, WIDTH), tensor("b", WIDTH, WIDTH)]
    numbers = [ints("apart", 0, 6, HEADS, CHANNELS), ints("whole", 0, 6, WIDTH)]
    model = made(nodes, [*weights, *numbers], [port("x", *SHAPE)], [port("y", *SHAPE)])
    zeroed(model, numpy_helper.to_array(weights[0]), np.array([3]), 1)
    assert shrink(model).SerializeToString() == model.SerializeToString()


def test_values_in_another_grouping_than_queries():
    """Values are read by heads of 8 channels, and by heads that lie across all of these."""
    crossing = [
        node("Reshape", ["v.x", "across"], ["w.h"]),
        node("Transpose", ["w.h"], ["w"], perm=[0, 3, 1, 2]),
        node("MatMul", ["p", "w"], ["d"]),
        node("Add", ["c", "d"], ["e"]),
    ]
    model = crafted(crossing, seen="e", constants=[ints("across", 0, 6, CHANNELS, HEADS)])
    masked = headless(model, [1, 3])
    assert dims(shrink(masked)) == dims(masked)
    assert difference(masked, shrink(masked), random(masked, 2)) <= TOLERANCE


@pytest.mark.parametrize("name", ["no more", "a mask for all heads"])
def test_idle_weights_are_those_of_dead_heads(name):
    """By brute force, one weight after the other."""
    model = headless(CUT[name], [1, 3])
    x, tensors = random(model, 2), {t.name: t for t in model.graph.initializer}
    expected, rng = outputs(model, x)[0], np.random.default_rng(2)
    for weight, mask in idle(model).items():
        values = numpy_helper.to_array(tensors[weight])
        for place in rng.permutation(mask.size)[:30]:
            other = values.copy()
            other.reshape(-1)[place] += 3.0
            tensors[weight].CopyFrom(numpy_helper.from_array(other, weight))
            assert np.array_equal(outputs(model, x)[0], expected) == mask.reshape(-1)[place], (weight, place)
        tensors[weight].CopyFrom(numpy_helper.from_array(values, weight))


@pytest.mark.parametrize(("net", "dynamo", "dynamic"), [FORMS[3], FORMS[7], WAYS[0]])
def test_blocks_as_wide_as_a_head_are_heads(net, dynamo, dynamic):
    """A pattern that is there already removes them, where the output projection reads them."""
    model, weights = exported(net, dynamo, dynamic)
    outs = {stored(model, weights[layer["out"][0]])[0].name: layer["out"][0] for layer in of_layers(weights)}
    assert head_widths(model) == dict.fromkeys(outs, CHANNELS)
    masked = ModelProto()
    masked.CopyFrom(model)
    pattern, form = Block(rows=WIDTH, columns=CHANNELS), Form("dense", (WIDTH, WIDTH))
    for name in outs.values():
        W = torch.from_numpy(weights[name].copy())
        gone = form.restored(pattern.project(form.matrices(W), kept=3)).eq(0).all(0).numpy()
        zeroed(masked, weights[name], np.flatnonzero(gone), axis=1)
    smaller = shrink(masked)
    assert {columns for _, columns in left_in(model, smaller, weights)} == {3 * CHANNELS}
    assert difference(masked, smaller, feeds(net, *lengths(net, dynamo, dynamic)[0])) <= TOLERANCE


@pytest.mark.parametrize("name", WHOLE)
def test_heads_that_stay_have_no_width(name):
    assert head_widths(WHOLE[name]) == {}
