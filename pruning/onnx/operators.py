"""The page docs/operators.md: python -m pruning.onnx.operators > docs/operators.md."""

import inspect

from onnx import defs

from pruning.onnx.inline import COMPOSITES
from pruning.onnx.ops import CONVERTERS, FAMILIES
from pruning.onnx.vet import Limits

HEAD = """# Operators

What an ONNX model may be made of. Made by `python -m pruning.onnx.operators`; a test holds it against the code.

Opsets {oldest} to {newest}, IR version up to {ir}. An operator that is not listed, or a form that a restriction rules
out, is refused when the model is uploaded, with the name of the node. Element types: float32, float64, float16 and
bfloat16 (both trained in single precision and delivered as they came), int8 to int64, uint8 to uint32, bool; no
strings, float8, int4, uint64 or complex numbers.

Model-local functions are put in their places before conversion. Opsets before 7 are raised with ONNX's version
converter for conversion only: the delivered file keeps its opset. `Loop`, `Scan`, optional values, sparse tensors,
external data and domains other than ONNX's own are refused.

Every input needs a batch axis, the same in all of them; a model whose inputs are vectors without one is trained example
by example. A batch size that the exporter wrote into the graph is freed where the batch can be followed through the
graph's Reshapes; where it cannot, examples are trained in pieces of that size, with a warning.

| operator | opsets | family | restrictions and notes |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    limits = Limits()
    family = {op: module.__name__.rpartition(".")[2] for module in FAMILIES for op in module.CONVERTERS}
    rows = [
        f"| {op} | {_opsets(op, limits)} | {family.get(op, 'expanded')} | {_notes(op)} |"
        for op in sorted([*CONVERTERS, *COMPOSITES])
    ]
    head = HEAD.format(oldest=limits.oldest_opset, newest=limits.newest_opset, ir=limits.newest_ir)
    return head + "\n".join(rows) + "\n"


def _opsets(op: str, limits: Limits) -> str:
    """First to last version in which the operator is part of the standard."""
    versions = [s for s in defs.get_all_schemas_with_history() if s.name == op and s.domain == ""]
    first = min(s.since_version for s in versions)
    newest = max(versions, key=lambda s: s.since_version)
    last = f"{newest.since_version - 1}" if newest.deprecated else f"{limits.newest_opset}"
    return f"{first} to {last}"


def _notes(op: str) -> str:
    if op in COMPOSITES:
        return "By ONNX's own definition of it; optional inputs in the middle must not be left out."
    said = inspect.getdoc(CONVERTERS[op]) or ""
    return " ".join(said.split())


if __name__ == "__main__":
    print(page(), end="")
