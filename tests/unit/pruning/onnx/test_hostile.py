"""Hostile files end in a sentence: no crash, no hang, no gigabytes, no exception of another kind."""

import json
import subprocess
import sys

import pytest

from tests.conftest import HOUSE
from tests.unit.pruning.onnx.hostile import HARMLESS, HOSTILE
from tests.unit.pruning.onnx.trial import Outcome

LARGEST_PEAK_MB = 1024


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Of every file, each tried in a process of its own."""
    command = [sys.executable, "-m", "tests.unit.pruning.onnx.trial"]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    found = [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]
    return {outcome.name: outcome for outcome in found}


@pytest.mark.parametrize("name", HOSTILE)
def test_ends_in_a_sentence(outcomes: dict[str, Outcome], name: str):
    outcome = outcomes[name]
    assert outcome.end == "refused" or (outcome.end == "taken" and name in HARMLESS), outcome
    assert outcome.peak_mb < LARGEST_PEAK_MB, outcome


def test_what_is_harmless_is_in_the_corpus():
    assert set(HOSTILE) >= HARMLESS
