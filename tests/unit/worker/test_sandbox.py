"""What a process that was taken over by a hostile file still could do."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import HOUSE

ATTACKS = {
    "reads a file of somebody else": "open({secret!r}).read()",
    "reads the system's accounts": "open('/etc/passwd').read()",
    "reads the environment of the worker": "open(f'/proc/{os.getppid()}/environ').read()",
    "reads the memory of the worker": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "writes beside its folder": "open({secret!r} + '.new', 'w')",
    "removes a file of somebody else": "os.unlink({secret!r})",
    "follows its own link": "os.symlink({secret!r}, 'link'); open('link').read()",
    "changes what it may read": "open({given!r}, 'a').write('x')",
    "changes our code": "open({code!r}, 'a')",
    "calls the internet": "socket.socket()",
    "calls a broker beside it": "socket.socket(socket.AF_UNIX)",
    "leaves the group that is killed": "os.setsid()",
    "enters another view of the system": "kernel.called(kernel.LIBC.unshare(0x10000000), 'unshare')",
}
SCRIPT = """
import json, os, socket, sys
from pathlib import Path
from worker import sandbox
from worker.sandbox import kernel
walls = vars(sandbox.enclose([Path({given!r})], [Path.cwd()]))
def attempt(code):
    try:
        exec(code)
    except (OSError, kernel.Unavailable) as error:
        return str(error)
    return None
said = {{name: attempt(code) for name, code in {attacks!r}.items()}}
Path("kept").write_text(Path({given!r}).read_text())
import numpy, torch
print(json.dumps([walls, said, float((torch.ones(64, 64) @ torch.ones(64, 64)).sum())]))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict, dict, float]]:
    """All attacks in one process, as torch takes seconds to load."""
    folder = tmp_path_factory.mktemp("sandbox")
    (own := folder / "own").mkdir()
    secret, given, code = folder / "secret", folder / "given", HOUSE / "worker" / "run.py"
    secret.write_text("of somebody else")
    given.write_text("for it to read")
    known = {"secret": str(secret), "given": str(given), "code": str(code)}
    attacks = {name: text.format(**known) if "{os" not in text else text for name, text in ATTACKS.items()}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(attacks=attacks, **known)],
        cwd=own,
        env=os.environ | {"PYTHONPATH": str(HOUSE), "HOME": str(own)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    walls, said, total = json.loads(ran.stdout.splitlines()[-1])
    assert (own / "kept").read_text() == "for it to read"
    assert secret.read_text() == "of somebody else" and given.read_text() == "for it to read"
    yield walls, said, total


def test_torch_computes_behind_the_walls(outcome):
    assert outcome[2] == 64**3


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused(outcome, name):
    walls, said, _ = outcome
    missing = {wall: why for wall, why in walls.items() if why}
    if missing:
        pytest.skip(f"this system cannot forbid everything: {missing}")
    assert said[name] is not None and "ermi" in said[name], said[name]


def test_a_system_that_cannot_forbid_says_why(monkeypatch):
    from worker.sandbox import Walls, _why_not
    from worker.sandbox.kernel import Unavailable

    def wall() -> None:
        raise Unavailable("namespaces: Operation not permitted")

    walls = Walls(_why_not(wall), None, _why_not(lambda: None))
    assert str(walls) == (
        "network: not confined (namespaces: Operation not permitted), files: confined, system calls: confined"
    )
