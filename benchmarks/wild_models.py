"""Files as they are met in the wild: whether each is taken, trained and written back.

Usage: python -m benchmarks.wild_models
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.results import DATA, save
from benchmarks.verdicts import Verdict, judge, show
from pruning.errors import PruningError
from pruning.measure import session

BESIDE = ("lenet5", "resnet20", "resnet32")


def main() -> None:
    paths = [DATA / f"{name}.onnx" for name in BESIDE]
    paths += [path for folder in ("models", "models_unsupported") for path in sorted((DATA / folder).glob("*.onnx"))]
    rows = show((path.stem, _judged(path)) for path in _present(paths))
    verdicts = Counter(row["verdict"] for row in rows)
    runnable = len(rows) - verdicts["ORT refuses"]
    save(
        "wild_models",
        {
            "files": len(rows),
            "of these ONNX Runtime itself refuses": verdicts["ORT refuses"],
            "taken": verdicts["ready"],
            "refused": verdicts["refused"],
            "share refused of those that ONNX Runtime takes": round(verdicts["refused"] / runnable, 3),
            "wrong": verdicts["wrong"],
            "models": rows,
        },
    )


def _present(paths: list[Path]) -> Iterator[Path]:
    if not any(path.exists() for path in paths):
        raise SystemExit(f"no models under {DATA}: set SECATEUR_DATA")
    yield from (path for path in paths if path.exists())


def _judged(path: Path) -> Verdict:
    content = path.read_bytes()
    found = judge(content)
    if found.verdict != "ready":
        try:
            session(content)
        except PruningError as error:
            return Verdict("ORT refuses", f"{error}; we say: {found.why}")
    return found


if __name__ == "__main__":
    main()
