"""Names that a graph uses: what is added to it needs others."""

from onnx import ModelProto

from pruning.onnx.graphs import graphs_of


def names_of(model: ModelProto) -> set[str]:
    """Of all values, nodes, ports and stored tensors, of inner graphs too."""
    graphs = list(graphs_of(model.graph))
    found = {name for graph in graphs for node in graph.node for name in (node.name, *node.input, *node.output)}
    return found | {one.name for graph in graphs for one in (*graph.initializer, *graph.input, *graph.output)}


def free(name: str, taken: set[str]) -> str:
    """The name, lengthened until it is not taken; it is from now on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
