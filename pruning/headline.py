"""The report in one sentence. Importable without torch."""

from pruning.report import Accuracy, Compression, LatencyReport
from pruning.runtimes import FAST, SLOW

ROUGH = 0.5  # spread from which on a speedup is not sure
CLOSE = 1.02  # ratios below it are none
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
DIGITS = 3


def headline(compression: Compression, accuracy: Accuracy, latency: LatencyReport) -> str:
    """What became of weights, bytes, accuracy and speed, without the full stop."""
    before, after = (accuracy.formatted(accuracy.metric, v) for v in (accuracy.dense, accuracy.pruned))
    size = compression.bytes
    file = in_bytes(size.pruned) if size.packed is None else f"{in_bytes(size.packed)} packed"
    return (
        f"{compression.weights_total:,} weights became {compression.weights_kept:,}; "
        f"{in_bytes(size.dense)} became {file}; {accuracy.named(accuracy.metric)} {before} to {after} on "
        f"{accuracy.examples:,} {accuracy.split} {accuracy.unit}; {speed(latency)} in ONNX Runtime on one thread"
    )


def in_bytes(n: float) -> str:
    """Three digits and a unit: 8.1 kB."""
    if n < 1e3:
        return f"{n:,.0f} bytes"
    for unit, scale in reversed(UNITS):
        value = float(f"{n / scale:.{DIGITS}g}")
        if value < 1000 or unit == "GB":
            return f"{value:g} {unit}"
    raise AssertionError


def speed(row: LatencyReport) -> str:
    """How much faster or slower, by the two medians; a number only where the timings are sure of it."""
    ratio = row.dense_ms / max(row.pruned_ms, 1e-9)
    found = verdict(row)
    if found == "faster":
        return f"{_times(ratio)} times faster"
    if found == "slower":
        return f"{_times(1 / ratio)} times slower"
    if row.spread > ROUGH:
        is_even = SLOW < row.speedup < FAST
        return "about as fast, though timed unevenly," if is_even else "how fast is not sure, as it was timed unevenly,"
    return "as fast as before" if max(row.speedup, 1 / row.speedup) < CLOSE else "about as fast"


def verdict(row: LatencyReport) -> str:
    """The word faster or slower where that is sure, by both measures and by more than the calls spread; else none."""
    ratio = row.dense_ms / max(row.pruned_ms, 1e-9)
    if row.spread > ROUGH:
        return ""
    if min(row.speedup, ratio) >= max(FAST, 1 + row.spread / 2):
        return "faster"
    return "slower" if 1 / max(row.speedup, ratio) >= max(1 / SLOW, 1 + row.spread / 2) else ""


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < FAST else f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"
