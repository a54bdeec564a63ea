"""Hostile uploads on the worker's own way: each is refused in words, or accepted where the harm does not matter.

Usage: python -m benchmarks.hostile [--cases 100000] [--seed 0] [--kinds onnx,npz,...] [--jobs 1] [--folder DIR]
A kind of cases: see benchmarks/harm. The folder keeps the files that were found; `--only 17 --kinds npz` makes one
case again. Ctrl-C ends it early, with the results of what was run: of every kind about the same share.
"""

import argparse
import signal
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.harm import KINDS, grafts, make, models
from benchmarks.harm.children import Chunk, chunks_of, outcomes
from benchmarks.harm.trial import GOOD, Outcome
from benchmarks.results import save

SHARES = {"onnx": 25, "operators": 4, "grafted": 14, "packed": 8, "laborious": 0.04, "npz": 13}
SHARES |= {"archives": 10, "images": 10, "parquet": 10, "idx": 6}
FINDINGS = ("unforeseen", "no sentence", "strays", "memory", "crash", "hang")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="over all kinds, by their shares")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", type=int, help="this case of the kind")
    parser.add_argument("--folder", type=Path, help="for the files that were found; a temporary one by default")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="hostile-"))
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if "operators" in kinds:
        models.operators()  # seconds: before the children are forked
    if "grafted" in kinds:
        grafts.scions()
    if arguments.only is not None:
        for outcome in outcomes(arguments.seed, [Chunk(kinds[0], [arguments.only])], 1):
            print(outcome)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = time.monotonic()
    rows = _run(arguments.seed, _counts(kinds, arguments.cases), arguments.jobs, folder)
    seconds = round(time.monotonic() - start)
    _table(rows)
    save("hostile", _summary(rows, arguments.seed, seconds))


def _counts(kinds: list[str], cases: int) -> dict[str, int]:
    total = sum(SHARES[kind] for kind in kinds)
    return {kind: max(1, round(cases * SHARES[kind] / total)) for kind in kinds}


def _run(seed: int, counts: dict[str, int], jobs: int, folder: Path) -> dict[str, list[Outcome]]:
    """By kind; what is found is printed and kept as it comes."""
    rows: dict[str, list[Outcome]] = defaultdict(list)
    seen: Counter[tuple[str, ...]] = Counter()
    with closing(outcomes(seed, _in_turn(counts), jobs)) as found, suppress(KeyboardInterrupt):
        for outcome in found:
            rows[outcome.kind].append(outcome)
            if outcome.end in GOOD:
                continue
            sort = (outcome.kind, outcome.end, outcome.where, outcome.said[:30])
            seen[sort] += 1
            if seen[sort] <= 3:
                print(outcome, flush=True)
                content = make(seed, outcome.kind, outcome.number).content
                (folder / f"{outcome.kind}-{outcome.number}").write_bytes(content)
    return {kind: rows[kind] for kind in counts}


def _in_turn(counts: dict[str, int]) -> list[Chunk]:
    """Every kind comes to its end together with the others."""
    chunks = [c for kind, n in counts.items() for c in chunks_of(kind, n)]
    return sorted(chunks, key=lambda c: c.numbers[0] / counts[c.kind])


def _table(rows: dict[str, list[Outcome]]) -> None:
    heads = {"cases": 8, "accepted": 10, "refused": 9, "no room": 9, "found": 7, "slowest s": 11, "peak MB": 9}
    print(f"{'kind':<12}" + "".join(f"{head:>{width}}" for head, width in heads.items()))
    for kind, tried in rows.items():
        ends = Counter(o.end for o in tried)
        found = sum(ends[end] for end in FINDINGS)
        numbers = (len(tried), *(ends[end] for end in GOOD), found, _slowest(tried), _peak(tried))
        print(f"{kind:<12}" + "".join(f"{n:>{width}}" for n, width in zip(numbers, heads.values(), strict=True)))


def _summary(rows: dict[str, list[Outcome]], seed: int, seconds: int) -> dict[str, Any]:
    every = [o for tried in rows.values() for o in tried]
    ends = Counter(o.end for o in every)
    by_kind = [
        {"kind": k, **Counter(o.end for o in v), "slowest, s": _slowest(v), "peak, MB": _peak(v)}
        for k, v in rows.items()
    ]
    return {
        "cases": len(every),
        "seed": seed,
        "accepted": ends["accepted"],
        "refused in words": ends["refused"],
        "refused for want of memory": ends["out of memory"],
        **{f"findings: {end}": ends[end] for end in FINDINGS},
        "slowest case, s": _slowest(every),
        "peak memory of a case, MB": _peak(every),
        "seconds": seconds,
        "kinds": by_kind,
        "slowest": [asdict(o) for o in sorted(every, key=lambda o: -o.seconds)[:10]],
        "largest": [asdict(o) for o in sorted(every, key=lambda o: -o.peak_mb)[:10]],
        "findings": [asdict(o) for o in every if o.end not in GOOD][:100],
    }


def _slowest(tried: Iterable[Outcome]) -> float:
    return max((round(o.seconds, 1) for o in tried), default=0.0)


def _peak(tried: Iterable[Outcome]) -> float:
    return max((round(o.peak_mb) for o in tried), default=0)


if __name__ == "__main__":
    main()
