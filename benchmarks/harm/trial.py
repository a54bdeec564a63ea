"""A case on the way that an upload takes in the worker, in this process, and how it ended.

The limits are the worker's, at half its memory; the folder is as private as the worker's and is looked through after
each case.
"""

import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harm.case import Case
from pruning.data.cache import Source, read
from pruning.data.shelf import Bounds
from pruning.errors import PruningError, is_out_of_memory
from pruning.folders import trim
from pruning.onnx.analyse import analyse
from pruning.onnx.upload import open_upload
from pruning.onnx.vet import Limits

MEMORY = 4 << 30  # the service gives twice as much
BOUNDS = Bounds(bytes=2**26)  # the service takes more, of its disk; how it is held is the same
LONGEST_SENTENCE = 2000
NO_SENTENCE = re.compile(
    r"Traceback|\bFile \"|frame #\d|0x[0-9a-fA-F]{9,}|object at|/(tmp|usr|work|home|root|opt)/|site-packages"
    r"|\b(Key|Type|Value|Index|Attribute|Assertion|Recursion|Overflow|OS|Runtime)Error\b|[\x00-\x1f\x7f]|\x1b"
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PEAK = "/proc/self/clear_refs"
READABLE = ("/proc/", "/sys/", "/dev/", "/usr/", "/lib", "/etc/ld.so")
GOOD = ("accepted", "refused", "out of memory")


@dataclass(frozen=True)
class Outcome:
    """How a case ended: one of GOOD, or a finding. where: the innermost line of ours; peak_mb: rise of its memory."""

    kind: str
    number: int
    name: str
    end: str
    said: str = ""
    where: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0


class Folder:
    """root/a/b/work holds the upload, cache and tmp; names that lead out of it end within root."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.work = self.root / "a" / "b" / "c" / "work"
        self.cache, self.tmp = self.work / "cache", self.work / "tmp"
        self.upload = self.work / "upload"
        self.strays: list[str] = []
        for folder in (self.cache, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)

    def enter(self) -> None:
        """From now on this process is told of every file that it opens elsewhere."""
        os.chdir(self.tmp)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.tmp)
        sys.dont_write_bytecode = True
        sys.addaudithook(self._hear)

    def left(self, accepted: bool) -> list[str]:
        """What is there that should not be; it is removed."""
        strays, self.strays = self.strays, []
        for path in (*self.root.rglob("*"),):
            inside = path.is_relative_to(self.cache) and accepted
            if path not in (self.cache, self.tmp, self.upload, *self.work.parents, self.work) and not inside:
                strays.append(f"left {path.relative_to(self.root)}")
        for folder in (self.cache, self.tmp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        os.chdir(self.tmp)
        return strays

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.system", "os.exec", "socket.connect", "pickle.find_class"):
            self.strays.append(f"{event} {arguments!r:.100}")
        elif event in ("os.mkdir", "os.link", "os.symlink", "os.remove", "os.rename"):
            self._judge(arguments[0], writes=True)
        elif event == "open":
            flags = arguments[2] or 0
            self._judge(arguments[0], bool(flags & WRITING) or bool(set(arguments[1] or "") & set("wax+")))

    def _judge(self, path: object, writes: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  # pathlib would open it
        if name.startswith(str(self.work)) or name in ("/dev/null", PEAK):
            return
        if writes or not name.startswith((*READABLE, sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]))):
            self.strays.append(f"{'writes' if writes else 'reads'} {name[:100]}")


def limit(format: str) -> None:
    """As worker/run.py bounds itself."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if format == "onnx":
        most = psutil.Process().memory_info().vms + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def judge(case: Case, folder: Folder, kind: str = "", number: int = 0) -> Outcome:
    """What the worker would make of it."""
    folder.upload.write_bytes(case.content)
    before, start = _reset_peak(), time.monotonic()
    end, said, where = verdict(lambda: _look(case, folder))
    seconds, peak = time.monotonic() - start, max(0.0, _peak_mb() - before)
    if strays := folder.left(end == "accepted"):
        end, said = "strays", "; ".join(strays)[:600]
    if end in GOOD and peak > MEMORY / 2**20:
        end = "memory"
    return Outcome(kind, number, case.name, end, said[:600], where, round(seconds, 3), round(peak, 1))


def _look(case: Case, folder: Folder) -> dict[str, Any]:
    """As inspect_model and inspect_dataset."""
    if case.format == "onnx":
        analysis, _ = analyse(open_upload(folder.upload.read_bytes(), Limits()))
        return analysis.model_dump(mode="json")
    dataset = read(Source(folder.upload, case.format, case.how, BOUNDS), folder.cache)
    trim([folder.cache], BOUNDS.bytes)
    dataset.train.prepared(slice(0, 1))
    return dataset.summary(case.format).model_dump(mode="json")


def verdict(look: Callable[[], dict[str, Any]]) -> tuple[str, str, str]:
    """How it ended, what was said, and where."""
    try:
        with open(os.devnull, "w") as nothing, redirect_stderr(nothing):  # noqa: PTH123
            facts = look()
        json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()  # as the database and the API need it
    except Exception as error:  # noqa: BLE001  # what it is decides how it ended
        if is_out_of_memory(error):
            return "out of memory", "", _where(error)
        if not isinstance(error, PruningError):
            return "unforeseen", f"{type(error).__name__}: {error}", _where(error)
        return ("refused" if _is_sentence(str(error)) else "no sentence"), str(error), _where(error)
    return "accepted", "", ""


def _is_sentence(said: str) -> bool:
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return 15 <= len(said) <= LONGEST_SENTENCE and not NO_SENTENCE.search(said)


def _where(error: BaseException) -> str:
    """File and line: of its cause where it was raised from one."""
    frames = [f for f in traceback.extract_tb((error.__cause__ or error).__traceback__) if "/pruning/" in f.filename]
    return f"{frames[-1].filename.split('/pruning/')[-1]}:{frames[-1].lineno}" if frames else ""


def _reset_peak() -> float:
    with suppress(OSError):
        Path(PEAK).write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
