"""Graphs stand inside the nodes of graphs."""

from collections.abc import Iterator

from onnx import GraphProto, NodeProto


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph, and the graphs inside its nodes."""
    yield graph
    for node in graph.node:
        yield from (inner for inside in graphs_in(node) for inner in graphs_of(inside))


def graphs_in(node: NodeProto) -> list[GraphProto]:
    """The node's own, without those inside them."""
    return [g for a in node.attribute for g in ([a.g] if a.HasField("g") else a.graphs)]
