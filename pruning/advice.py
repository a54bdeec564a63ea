"""What to try next, by rules from a report's own numbers. Importable without torch."""

import json
import math
from collections.abc import Callable
from typing import Any

from pruning.headline import ROUGH
from pruning.intervals import examples_for
from pruning.report import LatencyReport, Report
from pruning.runtimes import FAST

MOST = 5  # sentences
HIGHER, LOWER = 1.5, 1.5  # next rate / this one, and the other way round
FAR = 0.3  # of the norm of the weights, from their set
WIDE = 0.02  # of the interval of the drop of a share
MANY_ZEROS = 0.3
MARGIN = 0.98  # of the bytes that would just do
HIGH_RATE = 50  # from here on gradual is known to be better than direct


def advise(report: Report) -> tuple[str, ...]:
    """Sentences without their full stops, the most useful first, at most five."""
    said = (rule(report) for rule in RULES)
    return tuple(text for text in said if text)[:MOST]


def goal_missed(r: Report) -> str:
    """What to change where the goal was missed."""
    if r.goal_met:
        return ""
    budget = _budget(r)
    if drop := budget.get("max_accuracy_drop"):
        wanted = _said({"budget": {"max_accuracy_drop": _digits(drop / 2)}})
        return f"the goal was missed on the test split: leave the search a margin, {wanted}"
    if size := budget.get("bytes"):
        over = (r.compression.bytes.packed or r.compression.bytes.pruned_gzip) / size
        wanted = _said({"budget": {"bytes": math.floor(size / over * MARGIN)}})
        return f"the goal was missed: ask for as much less, {wanted}"
    return f"the goal was missed: ask for a higher rate, {_said(_at(r, HIGHER))}"


def lost_much(r: Report) -> str:
    """A large drop that is more than chance: a lower rate, or more training."""
    if not r.accuracy.is_large_loss:
        return ""
    plan, tries = r.manifest.plan, []
    if "bytes" in _budget(r) and not plan.get("quantize"):
        tries.append(f"fewer bits instead of fewer weights, {_said({'quantize': {'bits': 4}})}")
    if r.goal_met and _at(r, 1 / LOWER):
        tries.append(f"a lower rate, {_said(_at(r, 1 / LOWER))}")
    is_direct = plan.get("method", "direct") == "direct" and _kind(r) == "unstructured"
    if is_direct and r.compression.pruning_rate >= HIGH_RATE:
        tries.append(f"the method for high rates, {_said({'method': 'gradual', 'importance': 'fisher'})}")
    else:
        epochs = (plan.get("retrain") or {}).get("epochs", 5)
        tries.append(f"longer retraining, {_said({'retrain': {'epochs': 2 * max(epochs, 1)}})}")
    if not (plan.get("distill") or {}).get("weight") and r.accuracy.metric != "agreement":
        tries.append(f"the dense model as a teacher, {_said({'distill': {'weight': 0.5}})}")
    sure = ", which is more than chance" if r.accuracy.is_beyond_chance else ""
    return f"{_lost(r)} were lost{sure}: try {_or(tries)}"


def lost_nothing(r: Report) -> str:
    """A drop within chance: more may go."""
    low_high = r.accuracy.interval.drop if r.accuracy.interval else None
    if low_high is None or r.accuracy.metric == "agreement" or low_high[0] > 0 or not r.goal_met:
        return ""
    if not _at(r, HIGHER) or _is_wide(r):
        return ""
    loss = "nothing was lost" if low_high[1] < 0 or r.accuracy.drop <= 0 else "what was lost is within chance"
    return f"{loss} on {r.accuracy.examples:,} {r.accuracy.unit}, so more may go: try {_said(_at(r, HIGHER))}"


def no_speed(r: Report) -> str:
    """Zeros that ONNX Runtime multiplies by: a pattern that it gains from."""
    stored = sum(x.weights if x.stored is None else x.stored for x in r.layers)
    zeros = 1 - r.compression.weights_kept / max(stored, 1)
    if r.latency.speedup >= FAST or zeros < MANY_ZEROS or _kind(r) in ("filter", "column", "n_m"):
        return ""
    filters = _said({"pattern": {"kind": "filter"}, "budget": {"multiply_adds_share": 0.5}})
    column = _said({"pattern": {"kind": "column"}, "budget": {"pruning_rate": 10}})
    return (
        f"{100 * zeros:.0f} % of the weights in pruned.onnx are zero, and ONNX Runtime multiplies by them all the "
        f"same; for speed try {filters}, or {column} for large layers"
    )


def few_examples(r: Report) -> str:
    """A test split that leaves the drop uncertain."""
    a = r.accuracy
    if not _is_wide(r) or a.interval is None:
        return ""
    low, high = a.interval.drop
    if not low < 0 < high:
        return ""
    spans = f"between {100 * high:.1f} points lost and {-100 * low:.1f} won"
    text = f"{a.examples:,} test {a.unit} leave the change uncertain, {spans}: give the data set more test examples"
    if a.changed is None or a.drop <= 0:
        return text
    differ = (a.changed.only_dense + a.changed.only_pruned) / a.examples
    needed = examples_for(a.drop, differ)
    return f"{text}; to tell a drop of {100 * a.drop:.2g} points from chance takes about {needed:,}"


def ended_far(r: Report) -> str:
    """ADMM ended far from its set, and accuracy was lost: more rounds."""
    far = r.convergence.relative
    if far is None or far < FAR or r.accuracy.drop <= 0:
        return ""
    more: dict[str, Any] = {"admm": {"rounds": 2 * r.convergence.rounds}}
    wanted = {"quantize": more} if r.manifest.plan.get("quantize") else more
    return (
        f"ADMM ended with the weights {100 * far:.0f} % of their norm away from where they were cut to; more rounds "
        f"bring them nearer before the cut, {_said(wanted)}"
    )


def uneven(r: Report) -> str:
    """Timings that spread: measured again elsewhere."""
    rows = r.latencies or (r.latency,)
    if not _is_rough(r.latency) and sum(map(_is_rough, rows)) * 2 <= len(rows):
        return ""
    most = max(row.spread for row in rows)
    return (
        f"the timings spread by up to {100 * most:.0f} % of their median, so something else was running: run "
        "the job again on an idle machine before speaking of its speed"
    )


def which_file(r: Report) -> str:
    """What each file is for."""
    size = r.compression.bytes
    if size.packed is None:
        return ""
    loads = ""
    if r.loading and r.loading.packed_ms and r.loading.packed_ms > r.loading.pruned_ms:
        loads = f", which loads in {r.loading.pruned_ms:.3g} ms instead of {r.loading.packed_ms:.3g} ms"
    return f"ship packed.onnx, which has {size.pruned / size.packed:.1f} times fewer bytes; serve pruned.onnx{loads}"


RULES: tuple[Callable[[Report], str], ...] = (
    goal_missed,
    lost_much,
    few_examples,
    lost_nothing,
    no_speed,
    uneven,
    ended_far,
    which_file,
)


def _budget(r: Report) -> dict[str, Any]:
    return {k: v for k, v in (r.manifest.plan.get("budget") or {}).items() if v is not None}


def _at(r: Report, factor: float) -> dict[str, Any]:
    """A budget that leaves so many times less; empty where a search has found the rate."""
    budget = _budget(r)
    if share := budget.get("multiply_adds_share"):
        return {"budget": {"multiply_adds_share": min(_digits(share / factor), 1)}}
    if size := budget.get("bytes"):
        return {"budget": {"bytes": round(size / factor)}}
    if "max_accuracy_drop" in budget or not budget or _kind(r) == "n_m":
        return {}
    return {"budget": {"pruning_rate": max(_digits(r.compression.pruning_rate * factor), 1)}}


def _is_wide(r: Report) -> bool:
    a = r.accuracy
    return a.is_percent and a.interval is not None and a.interval.drop[1] - a.interval.drop[0] > WIDE


def _is_rough(row: LatencyReport) -> bool:
    return row.spread > ROUGH


def _kind(r: Report) -> str:
    return (r.manifest.plan.get("pattern") or {}).get("kind", "unstructured")


def _lost(r: Report) -> str:
    a = r.accuracy
    if a.is_percent:
        return f"{100 * a.drop:.1f} points"
    return f"{a.drop:.3g} of {a.named(a.metric)}"


def _or(tries: list[str]) -> str:
    return tries[0] if len(tries) == 1 else f"{'; '.join(tries[:-1])}; or {tries[-1]}"


def _digits(value: float) -> float:
    """Two digits, a whole number where it is one."""
    rounded = float(f"{value:.2g}")
    return int(rounded) if rounded.is_integer() else rounded


def _said(plan: dict[str, Any]) -> str:
    return json.dumps(plan)
