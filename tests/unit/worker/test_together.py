"""Processes that do one job together reach each other, and nobody else."""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.parts import dealt_out
from store.settings import Settings
from tests.conftest import HOUSE
from worker import crew, supervise
from worker.endings import LOST, Ended

SCRIPT = """
import json, os, socket, subprocess, sys
from pathlib import Path
from worker import sandbox
from worker.sandbox import kernel, network
def forbidden(memory):
    raise kernel.Unavailable("namespaces: Operation not permitted")
sandbox.has_cards = lambda: {cards}
if {forbidden}:
    network.leave_together = forbidden
walls = vars(sandbox.enclose([], [Path.cwd()], together=True))
def attempt(code):
    try:
        exec(code)
    except OSError as error:
        return error.strerror
    return None
said = {{name: attempt(code) for name, code in {attempts!r}.items()}}
status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
print(json.dumps([walls, said, status]))
"""
MEET = (
    "with socket.create_server(('127.0.0.1', 0)) as server, socket.create_connection(server.getsockname()) as one:\n"
    "    other = server.accept()[0]; one.sendall(b'ours'); assert other.recv(9) == b'ours'"
)
ATTEMPTS = {
    "to each other": MEET,
    "to the machine": "socket.create_connection(('127.0.0.1', {port}), 5)",
    "to the internet": "socket.create_connection(('192.0.2.1', 80), 5)",
    "to a broker beside it": "socket.socket(socket.AF_UNIX)",
    "packets": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "the sixth version": "socket.socket(socket.AF_INET6)",
    "the firewall": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)",
    "raw packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "memory to hand over": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind('\\0ours')",
    "memory to share": "assert os.listdir('/dev/shm') == []; Path('/dev/shm/ours').write_text('ours')",
}
REFUSED = dict.fromkeys(ATTEMPTS, "Permission denied")
TOGETHER = {
    **REFUSED,
    "to each other": None,
    "to the machine": "Connection refused",  # its loopback is another
    "to the internet": "Network is unreachable",
}
OF_NCCL = {"memory to hand over": None, "memory to share": None}


def attempted(folder: Path, forbidden: bool = False, cards: bool = False) -> dict[str, str | None]:
    """What became of the attempts; forbidden: as where there are no namespaces."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        attempts = {name: code.replace("{port}", str(port)) for name, code in ATTEMPTS.items()}
        script = SCRIPT.format(forbidden=forbidden, cards=cards, attempts=attempts)
        environment, command = os.environ | {"PYTHONPATH": str(HOUSE)}, [sys.executable, "-c", script]
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    walls, found, status = json.loads(ran.stdout)
    if walls["system_calls"] or walls["files"] or bool(walls["network"]) != forbidden:
        pytest.skip(f"this system cannot forbid everything: {walls}")
    assert forbidden or "CapEff:\t0000000000000000" in status, "root gets the rights of its namespace back"
    return found


def test_they_reach_each_other_and_nobody_else(tmp_path):
    assert attempted(tmp_path) == TOGETHER


def test_with_graphics_cards_they_share_memory_that_nobody_else_sees(tmp_path):
    assert attempted(tmp_path, cards=True) == TOGETHER | OF_NCCL
    assert not Path("/dev/shm/ours").exists()


def test_without_a_network_of_their_own_there_are_no_sockets(tmp_path):
    assert attempted(tmp_path, forbidden=True, cards=True) == REFUSED


def tried(status: int, said: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *_, **__: subprocess.CompletedProcess([], status, "", said)


@pytest.mark.parametrize(("asked", "status", "expected"), [(1, 1, 1), (4, 0, 4), (4, 1, 1)])
def test_one_process_does_it_where_several_cannot_be_confined(monkeypatch, caplog, asked, status, expected):
    monkeypatch.setattr(crew, "settings", lambda: Settings(job_processes=asked))
    monkeypatch.setattr(crew.subprocess, "run", tried(status, "namespaces: Operation not permitted\n"))
    with caplog.at_level(logging.ERROR):
        assert crew.processes.__wrapped__() == expected
    told = "one process will do each job" in caplog.text and "(namespaces: Operation not permitted)" in caplog.text
    assert told == (expected < asked)


DEVICES = ("auto", "cuda", "cpu")
ALLOCATE = "import sys; held = bytearray(60_000_000); print('ready', flush=True); sys.stdin.read()"
FAMILY = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATE!r}])"


def test_the_memory_of_all_processes_counts():
    pipe = subprocess.PIPE
    started = subprocess.Popen([sys.executable, "-c", FAMILY], stdin=pipe, stdout=pipe, start_new_session=True)
    try:
        assert started.stdout is not None and started.stdout.readline() == b"ready\n"
        assert 60_000_000 < supervise._resident(started.pid) < 150_000_000
    finally:
        supervise._end(started)
        started.communicate()
    end = time.monotonic() + 10
    while supervise._resident(started.pid):
        assert time.monotonic() < end, "one is left"


def test_one_of_several_that_the_kernel_killed_had_no_memory():
    assert supervise._meaning(LOST, kernel_killed=True) is Ended.MEMORY
    assert supervise._meaning(LOST, kernel_killed=False) is Ended.CRASHED


def test_each_has_a_device_of_its_own_and_no_more_start_than_there_are(monkeypatch):
    from pruning import launch
    from pruning.plan import Plan
    from worker import work

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert [launch._own_device(rank) for rank in range(3)] == [0, 1, 2]
    on = {device: Plan.model_validate({"budget": {"sparsity": 0.5}, "train": {"device": device}}) for device in DEVICES}
    assert {device: work._processes(4, plan) for device, plan in on.items()} == {"auto": 3, "cuda": 3, "cpu": 4}
    assert work._processes(2, on["cuda"]) == 2


@pytest.mark.parametrize(
    ("cards", "each", "expected"), [(2, 1, ["0", "1"]), (5, 2, ["0,1", "2,3", "4"]), (2, 4, ["0,1"]), (0, 4, [])]
)
def test_no_card_is_two_workers(cards, each, expected):
    assert dealt_out(cards, each) == expected
