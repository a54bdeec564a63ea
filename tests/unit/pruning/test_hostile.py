"""Some hundred hostile uploads of every kind on the worker's own way; benchmarks/hostile.py has the other hundred
thousand.
"""

import json
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks.harm import KINDS, make
from benchmarks.harm.trial import GOOD, Folder, judge, verdict
from pruning.data.cache import Source
from pruning.errors import UnreadableDataset
from tests.conftest import HOUSE

SHORT = [kind for kind in KINDS if kind not in ("operators", "laborious")]  # seconds before their first, or for each
CASES = 30


@pytest.fixture(scope="module")
def outcomes() -> list[dict]:
    command = [sys.executable, "-m", "benchmarks.harm.children", "7", str(CASES), *SHORT]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", SHORT)
def test_each_is_refused_in_words_or_taken(outcomes: list[dict], kind: str):
    found = [o for o in outcomes if o["kind"] == kind]
    assert len(found) == CASES
    assert [o for o in found if o["end"] not in GOOD] == []
    ends = Counter(o["end"] for o in found)
    assert ends["refused"] >= CASES / 4 and ends["accepted"], "the files that damage begins with are good ones"


@pytest.mark.parametrize("kind", SHORT)
def test_a_case_is_the_same_file_again(kind: str):
    assert make(7, kind, 3) == make(7, kind, 3) != make(7, kind, 4)


def fails(error: Exception):
    def look():
        raise error

    return look


@pytest.mark.parametrize(
    ("look", "end"),
    [
        (fails(KeyError("x")), "unforeseen"),
        (fails(MemoryError()), "out of memory"),
        (fails(UnreadableDataset("x_train lacks its label: write it again")), "refused"),
        (fails(UnreadableDataset("bad: KeyError")), "no sentence"),
        (fails(UnreadableDataset("it cannot be read: /tmp/secateur-1/x is gone")), "no sentence"),
        (fails(UnreadableDataset("a\x1b[31m sentence of several words")), "no sentence"),
        (lambda: {"scale": float("nan")}, "unforeseen"),
        (lambda: {"name": "\ud800"}, "unforeseen"),
        (lambda: {"name": "a"}, "accepted"),
    ],
)
def test_what_counts_as_words(look, end: str):
    assert verdict(look)[0] == end


def test_what_a_case_leaves_is_seen(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    monkeypatch.chdir(tmp_path)

    def leave(source: Source, cache):
        (folder.work.parent / "evil").write_bytes(b"")
        raise UnreadableDataset("it is said in words, and something is left behind")

    monkeypatch.setattr("benchmarks.harm.trial.read", leave)
    outcome = judge(make(7, "npz", 0), folder)
    assert (outcome.end, outcome.said) == ("strays", "left a/b/c/evil")
