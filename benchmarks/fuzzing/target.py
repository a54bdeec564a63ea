"""The process that is fuzzed: it shows in a shared file what it is at, and writes down what it finds.

python -m benchmarks.fuzzing.target FOLDER SECONDS
"""

import faulthandler
import json
import re
import struct
import sys
from hashlib import sha256
from mmap import mmap
from pathlib import Path
from typing import Any

LARGEST = 200_000
HEADER = struct.Struct("<QQQQ")  # executions, taken, refused after vet, length of the input at hand
QUOTED_OR_NUMBER = r"'[^']*'|[-\d.]+"
GOOD = {"taken", "refused", "OutOfMemory"}


def fuzz(folder: Path, seconds: int) -> None:
    """Until the time is over, or an input ends the process."""
    atheris = _atheris()
    with atheris.instrument_imports(include=["pruning"]):
        import pruning.onnx.analyse  # noqa: F401
    import torch

    from benchmarks.fuzzing.mutations import mutate
    from tests.unit.pruning.onnx.trial import judge

    torch.set_num_threads(1)
    faulthandler.enable()  # a signal that ends this process leaves in the log where it was
    _limit()
    with (folder / "at").open("r+b") as file:
        shown = mmap(file.fileno(), 0)

    good, cases = ([path.read_bytes() for path in sorted((folder / k).iterdir())] for k in ("good", "cases"))
    good = [*good * (3 * len(cases) // len(good)), *cases]  # whole nets three times in four

    def test(content: bytes) -> None:
        executions, taken, deep, _ = HEADER.unpack_from(shown)
        HEADER.pack_into(shown, 0, executions + 1, taken, deep, len(content))
        shown[HEADER.size : HEADER.size + len(content)] = content
        outcome = judge("", content)
        is_deep = outcome.end == "refused" and "vet" not in outcome.where
        HEADER.pack_into(shown, 0, executions + 1, taken + (outcome.end == "taken"), deep + is_deep, len(content))
        if outcome.end not in GOOD:
            record(folder, outcome.end, outcome.said, outcome.where, content)

    def mutator(content: bytes, most: int, seed: int) -> bytes:
        changed = mutate(content, good, seed) if seed % 5 else None
        return changed if changed and len(changed) <= most else atheris.Mutate(content, most)

    # its own handlers would hide which signal it was
    handlers = [f"-handle_{s}=0" for s in ("abrt", "bus", "fpe", "ill", "int", "segv", "term", "xfsz")]
    limits = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", "-timeout=100000", "-rss_limit_mb=0"]
    options = [*limits, *handlers, "-detect_leaks=0", f"-artifact_prefix={folder}/"]
    folders = [str(folder / "corpus"), str(folder / "seeds")]
    atheris.Setup([sys.argv[0], *options, *folders], test, custom_mutator=mutator)
    atheris.Fuzz()


def record(folder: Path, end: str, said: str, where: str, content: bytes) -> None:
    """The file, and what became of it; nothing where one like it has been found."""
    # what ended it, and where; or its words without names and numbers
    kind = f"{end} {where or re.sub(QUOTED_OR_NUMBER, '', said)[:60]}"
    path = folder / f"finding-{sha256(kind.encode()).hexdigest()[:10]}.onnx"
    if path.exists():
        return
    path.write_bytes(content)
    row = {"file": path.name, "bytes": len(content), "end": end, "said": said[:300], "where": where}
    with (folder / "findings.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def _atheris() -> Any:
    try:
        import atheris  # type: ignore[import-not-found]
    except ImportError:
        raise SystemExit("fuzzing needs atheris: pip install atheris") from None
    return atheris


def _limit() -> None:
    import resource

    from tests.unit.pruning.onnx.trial import MEMORY

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


if __name__ == "__main__":
    fuzz(Path(sys.argv[1]), int(sys.argv[2]))
