"""How much there is to compute in a graph, as far as shapes are known."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from onnx import GraphProto, NodeProto

from pruning.errors import RejectedModel
from pruning.onnx.graphs import graphs_of
from pruning.onnx.node import shown

ASSUMED = 2  # of a dimension known only at run time
MOST_TOGETHER = 2**33  # elements of all values: half a minute to compute once, where each takes little
MOST_PRODUCTS = 2**39  # twenty times those of a VGG-16 for two examples
MOST_STEPS = 2**16  # of all recurrent layers: one after the other, each takes a tenth of a millisecond
SMALLER = "export a smaller model, or one for smaller inputs"
RECURRENT = ("GRU", "LSTM", "RNN")
FROM_MANY = ("Max", "Mean", "Min", "Sum")
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


def check_work(graph: GraphProto, most: int) -> None:
    """A small file can ask for hours: elements, products and steps of all operators together are limited.

    Args: graph: with the shapes of its values; most: elements of a value within an operator.
    Raises: RejectedModel.
    """
    graphs = list(graphs_of(graph))
    shapes = {name: shape for g in graphs for name, shape in _shapes(g).items()}
    nodes = [node for g in graphs for node in g.node]
    elements = sum(math.prod(shape) for g in graphs for shape in _values(g).values())
    elements += sum(_made(n, shapes) * (len(n.input) - 1) for n in nodes if n.op_type in FROM_MANY)
    if elements > MOST_TOGETHER:
        raise RejectedModel(
            f"the values of the graph have {elements:,} elements together; at most {MOST_TOGETHER:,} are taken: "
            + SMALLER
        )
    products = sum(PRODUCTS[node.op_type](node, shapes) for node in nodes if node.op_type in PRODUCTS)
    if products > MOST_PRODUCTS:
        raise RejectedModel(
            f"the graph takes {products:,} multiply-adds for {ASSUMED} examples; at most {MOST_PRODUCTS:,} are taken: "
            + SMALLER
        )
    steps = sum(_steps(node, shapes) for node in nodes if node.op_type in RECURRENT)
    if steps > MOST_STEPS:
        raise RejectedModel(
            f"the recurrent layers take {steps:,} steps one after the other; at most {MOST_STEPS:,} are taken: "
            "export the model for shorter sequences"
        )
    for node in (n for n in nodes if n.op_type in BETWEEN):
        if (largest := BETWEEN[node.op_type](node, shapes)) > most:
            raise RejectedModel(
                f"{node.op_type} {shown(node.name or node.output[0])} would have {largest:,} elements between its "
                f"inputs and its output; at most {most:,} are taken: {SMALLER}"
            )


def _values(graph: GraphProto) -> dict[str, Shape]:
    ports = (*graph.input, *graph.value_info, *graph.output)
    known = [v for v in ports if v.type.tensor_type.HasField("shape")]
    return {v.name: tuple(d.dim_value or ASSUMED for d in v.type.tensor_type.shape.dim) for v in known}


def _shapes(graph: GraphProto) -> dict[str, Shape]:
    return {**_values(graph), **{t.name: tuple(t.dims) for t in graph.initializer}}


def _made(node: NodeProto, shapes: Shapes) -> int:
    """Elements of its output; 0: not known."""
    return math.prod(shapes.get(node.output[0], (0,)))


def _of_matrices(node: NodeProto, shapes: Shapes) -> int:
    return _made(node, shapes) * max(shapes.get(node.input[0], ())[-2:], default=0)


def _of_windows(node: NodeProto, shapes: Shapes) -> int:
    """A window on one channel takes about as long as one on eight."""
    inputs, *kernel = shapes.get(node.input[1], (0, 0))[1:] or (0,)
    return _made(node, shapes) * (inputs and max(inputs, 8)) * math.prod(kernel)


def _of_spread_windows(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes.get(node.input[0], (0,))) * math.prod(shapes.get(node.input[1], (0, 0))[1:])


def _of_pools(node: NodeProto, shapes: Shapes) -> int:
    window = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
    return _made(node, shapes) * math.prod(window)


def _of_determinants(node: NodeProto, shapes: Shapes) -> int:
    shape = shapes.get(node.input[0], (0,))
    return math.prod(shape) * max(shape, default=0)


def _of_neighbours(node: NodeProto, shapes: Shapes) -> int:
    return _made(node, shapes) * next((a.i for a in node.attribute if a.name == "size"), 0)


def _of_steps(node: NodeProto, shapes: Shapes) -> int:
    x, *matrices = (shapes.get(name, (0,)) for name in node.input[:3])
    return math.prod(x[:2]) * sum(map(math.prod, matrices))


def _of_attention(node: NodeProto, shapes: Shapes) -> int:
    """Scores by the channels of a query and of a value."""
    query, value = (shapes.get(name, ()) for name in (node.input[0], node.output[0]))
    return (math.prod(query) + math.prod(value)) * _keys(node, shapes) if query and value else 0


def _scores(node: NodeProto, shapes: Shapes) -> int:
    query = shapes.get(node.input[0], ())
    heads = next((a.i for a in node.attribute if a.name == "q_num_heads"), 1)
    return math.prod(query[:-1]) * _keys(node, shapes) * (heads if len(query) == 3 else 1) if query else 0


def _keys(node: NodeProto, shapes: Shapes) -> int:
    """Those that came before too."""
    named = [node.input[i] for i in (1, 4) if i < len(node.input)]
    return sum(shapes[name][-2] for name in named if len(shapes.get(name, ())) > 1)


def _largest_contraction(node: NodeProto, shapes: Shapes) -> int:
    return max((made for _, made in _contractions(node, shapes)), default=0)


def _of_contractions(node: NodeProto, shapes: Shapes) -> int:
    return sum(products for products, _ in _contractions(node, shapes))


def _steps(node: NodeProto, shapes: Shapes) -> int:
    """Of both directions."""
    layout = next((a.i for a in node.attribute if a.name == "layout"), 0)
    steps, directions = shapes.get(node.input[0], ())[bool(layout) :][:1], shapes.get(node.input[1], ())[:1]
    return math.prod(steps) * math.prod(directions)


def _contractions(node: NodeProto, shapes: Shapes) -> Iterator[tuple[int, int]]:
    """Products of an Einsum's operands, two and two from the left: multiply-adds, and elements of what is made.

    An axis that one of both has alone and nothing after them asks for is summed before.
    """
    equation = next((a.s.decode() for a in node.attribute if a.name == "equation"), "").replace(" ", "")
    before, arrow, result = equation.partition("->")
    terms = before.split(",")
    if len(terms) != len(node.input) or any(name not in shapes for name in node.input):
        return
    axes = [_axes(term, shapes[name]) for term, name in zip(terms, node.input, strict=True)]
    sizes = {name: max(a.get(name, 0) for a in axes) for name in {name for a in axes for name in a}}
    asked = [{name for name in sizes if name[0] == "." or name in result or _is_kept(name, arrow, before)}]
    for a in reversed(axes[1:]):
        asked.append(asked[-1] | a.keys())
    left = {*axes[0]}
    for a in axes[1:]:
        asked.pop()
        right, later = {*a}, asked[-1]
        together = {name for name in left | right if name in later or name in left & right}
        left = (left | right) & later
        yield math.prod(sizes[n] for n in together), math.prod(sizes[n] for n in left)


def _is_kept(name: str, arrow: str, before: str) -> bool:
    """Without an arrow the result has the letters that stand there once."""
    return not arrow and before.count(name) == 1


def _axes(term: str, shape: Sequence[int]) -> dict[str, int]:
    """Lengths by letter; axes under the ellipsis are counted from the last: .0, .1."""
    head, dots, tail = term.partition("...")
    found = dict(zip(head, shape, strict=False))
    if dots:
        found |= dict(zip(reversed(tail), reversed(shape), strict=False))
        middle = shape[len(head) : len(shape) - len(tail)]
        found |= {f".{i}": length for i, length in enumerate(reversed(middle))}
    return found


PRODUCTS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "MatMul": _of_matrices,
    "Gemm": _of_matrices,
    "Einsum": _of_contractions,
    "Attention": _of_attention,
    "Conv": _of_windows,
    "ConvTranspose": _of_spread_windows,
    "MaxPool": _of_pools,
    "AveragePool": _of_pools,
    "LpPool": _of_pools,
    "LRN": _of_neighbours,
    "Det": _of_determinants,
    **dict.fromkeys(RECURRENT, _of_steps),
}

# elements of a value that an operator makes on its way
BETWEEN: dict[str, Callable[[NodeProto, Shapes], int]] = {"Attention": _scores, "Einsum": _largest_contraction}
