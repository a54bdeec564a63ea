"""What a job needs of a machine, roughly. Importable without torch."""

from pruning.analysis import Analysis

LIBRARIES = 2**30  # torch, ONNX Runtime and their buffers
BYTES_OF_A_WEIGHT = 4 * 10  # it, its gradient, two moments of Adam, Z, U, the dense net, and the files


def memory(analysis: Analysis) -> int:
    """Bytes, without examples and what layers compute from them: the least that will do."""
    return LIBRARIES + BYTES_OF_A_WEIGHT * analysis.weights
