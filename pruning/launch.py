"""A job on several processes of this machine, each with a CUDA device of its own where the job runs on CUDA.

The process that is asked is the first of them: it talks to the listener, measures and delivers. The others are started
from here, `python -m pruning.launch FOLDER RANK SIZE`, or all of them by torchrun; they end when training does, and die
with the first.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psutil
import torch
from torch import distributed as dist
from torch._C._distributed_c10d import FileStore
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from pruning import errors
from pruning.deliver import Delivery, deliver
from pruning.errors import InvalidPlan, LostProcess, OutOfMemory, PruningError, first_line, is_out_of_memory
from pruning.listener import Listener, Silent
from pruning.measure import cores
from pruning.order import Order
from pruning.pipeline import train_network
from pruning.processes import ALONE, Group
from pruning.stages.problem import Checkpoint

PATIENCE = timedelta(hours=1)  # with a process that lives: the first decodes data and writes checkpoints meanwhile
ENDING_SECONDS = 60  # that the others may take to end when they are done
SECONDS_TO_DIE = 0.5
FOLLOWER = "pruning.launch"
READY = "ready"
FAILED = "failed"  # what the first process to fail says of it, in the store
LOSS = ("closed by peer", "reset by peer", "broken pipe", "timed out")  # as gloo says it
AGAIN = "try again, with fewer processes if it happens again"


def prune(order: Order, listener: Listener, resume: Checkpoint | None = None, processes: int = 1) -> Delivery:
    """As pruning.pipeline.prune, on so many processes; under torchrun on those that it started.

    Raises: PruningError: that of whichever process failed; LostProcess: one was killed or crashed.
    """
    with _group(processes) as group, _threads(group):
        group.agreed((order, resume, torch.get_num_threads()))
        trained = train_network(order, listener, resume, group)
    assert trained is not None  # the first process is always needed
    return deliver(trained, listener)


def is_follower() -> bool:
    """Whether torchrun started this process, and not as the first."""
    return dist.is_torchelastic_launched() and int(os.environ["RANK"]) > 0


def follow() -> int:
    """What torchrun's other processes do; returns the exit status."""
    store, rank, size = next(rendezvous("env://"))
    return _follow(store, Group(rank, size), say=lambda text: print(f"error: {text}", file=sys.stderr, flush=True))


@contextmanager
def _group(processes: int) -> Iterator[Group]:
    """Of this process, the first, and the others, which are gone afterwards."""
    if dist.is_torchelastic_launched():
        store, rank, size = next(rendezvous("env://"))
        with _failures(store, None), _joined(store, Group(rank, size)) as group:
            yield group
    elif processes == 1:
        yield ALONE
    else:
        with tempfile.TemporaryDirectory(prefix="secateur-") as folder, _others(folder, processes) as others:
            store = FileStore(f"{folder}/store", processes)
            with _failures(store, others), _joined(store, Group(0, processes)) as group:
                yield group


@contextmanager
def _others(folder: str, size: int) -> Iterator[list[subprocess.Popen[str]]]:
    """The other processes, ready to join; whatever happens they are gone afterwards."""
    environment = os.environ | {"PYTHONPATH": _path(Path(folder))}
    others: list[subprocess.Popen[str]] = []
    try:
        for rank in range(1, size):
            command = [sys.executable, "-m", FOLLOWER, folder, str(rank), str(size)]
            pipe = subprocess.PIPE
            others.append(subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True))
        for other in others:
            assert other.stdout is not None
            if other.stdout.readline().strip() != READY:
                raise LostProcess
        yield others
        for other in others:
            with suppress(subprocess.TimeoutExpired):
                other.wait(ENDING_SECONDS)
    finally:
        for other in others:
            other.kill()
            other.communicate()


def _path(folder: Path) -> str:
    """Where the others find this package, also where no more than the package itself may be read, as in a worker.

    Python looks for packages in lists of folders, and the folder above this one may be one that cannot be listed.
    """
    package = Path(__file__).parent
    (folder / package.name).symlink_to(package)
    return os.pathsep.join([str(folder), str(package.parent), os.environ.get("PYTHONPATH", "")])


@contextmanager
def _joined(store: Store, group: Group) -> Iterator[Group]:
    """Connected to the others of its group, over loopback where all are on this machine."""
    backend, hook = "gloo", sys.excepthook
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(_own_device(group.rank))
    with _on_loopback():
        dist.init_process_group(backend, store=store, rank=group.rank, world_size=group.size, timeout=PATIENCE)
    sys.excepthook = hook  # torch has put its own there
    try:
        yield group
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _own_device(rank: int) -> int:
    """Of the devices that this process sees, one for each process while they are enough; torchrun may say which."""
    return int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Gloo listens where the machine's name leads to, unless it is told; nobody else is to reach it."""
    name = "GLOO_SOCKET_IFNAME"
    if name in os.environ or os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE"):
        yield
        return
    found = (k for k, addresses in psutil.net_if_addrs().items() if any(a.address == "127.0.0.1" for a in addresses))
    os.environ[name] = next(found, "lo")
    try:
        yield
    finally:
        del os.environ[name]


@contextmanager
def _threads(group: Group) -> Iterator[None]:
    """The cores are divided while the group is there. torchrun lets each process have one, unless it is told."""
    before = torch.get_num_threads()
    if group.size > 1:
        mine = before // group.size
        torch.set_num_threads(max(1, max(before, cores() // group.size) if dist.is_torchelastic_launched() else mine))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _failures(store: Store, others: Sequence[subprocess.Popen[str]] | None) -> Iterator[None]:
    """In the first process: what it meets because another failed becomes the error of that one.

    Args: others: None where torchrun has started them; each says there itself why it failed.
    """
    for other in others or () if torch.cuda.is_available() else ():
        threading.Thread(target=_abort_without, args=(other,), daemon=True).start()
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        if store.check([FAILED]):
            raise (_told(store) if others is not None else SystemExit(1)) from error
        if lost := _lost(others or ()):
            raise LostProcess(lost) from error
        if _is_loss(error):
            raise LostProcess from error
        raise


def _abort_without(other: subprocess.Popen[str]) -> None:
    """NCCL, unlike gloo, waits for a process that is gone until it is told."""
    if other.wait() != 0 and dist.is_initialized():
        dist.distributed_c10d._abort_process_group()


def _lost(others: Sequence[subprocess.Popen[str]]) -> str | None:
    """Which process ended without a word; None: all live, or have done their part."""
    for number, other in enumerate(others, 2):
        with suppress(subprocess.TimeoutExpired):  # its connections end a moment before it does
            other.wait(SECONDS_TO_DIE)
        if status := other.poll():
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            return f"process {number} of {len(others) + 1} ended early ({how}): {AGAIN}"
    return None


def _told(store: Store) -> Exception:
    """The error of the process that failed first, as it would have been in this one."""
    said = json.loads(store.get(FAILED))
    kind = getattr(errors, said["kind"], None)
    if kind is InvalidPlan:
        return InvalidPlan(said["text"], said["pointer"])
    if isinstance(kind, type) and issubclass(kind, PruningError):
        return kind(said["text"])
    return RuntimeError(f"process {said['rank'] + 1}: {said['kind']}: {said['text']}")


def _follow(store: Store, group: Group, say: Callable[[str], None]) -> int:
    """Train along with the first process; returns the exit status. say: is told why it fails, unless another did."""
    try:
        with _joined(store, group):
            order, resume, threads = group.agreed(None)  # type: ignore[misc]
            torch.set_num_threads(threads)
            train_network(order, Silent(), resume, group)
    except Exception as error:  # noqa: BLE001  # whatever it is, the first process is told
        if not _is_loss(error):
            say(_tell(store, group, error))
            return 1
    return 0


def _tell(store: Store, group: Group, error: Exception) -> str:
    """What the first process is to raise; returns it in words."""
    if is_out_of_memory(error):
        error = OutOfMemory()
    elif not isinstance(error, PruningError):
        traceback.print_exception(error)
    text = str(error) if isinstance(error, PruningError) else first_line(error)
    pointer = getattr(error, "pointer", "")
    said = {"rank": group.rank, "kind": type(error).__name__, "text": text, "pointer": pointer}
    store.compare_set(FAILED, "", json.dumps(said))
    return text


def _is_loss(error: BaseException) -> bool:
    """Whether this says that another process is gone."""
    said = str(error).lower()
    return isinstance(error, RuntimeError) and not is_out_of_memory(error) and any(sign in said for sign in LOSS)


def _end_with_parent() -> None:
    """Nothing ever comes: the pipe's end is that of the process that holds its other end."""
    sys.stdin.read()
    os._exit(1)


def main(folder: str, rank: int, size: int) -> int:
    """One of the others; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process is interrupted, and ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(READY, flush=True)
    os.dup2(2, 1)  # nobody reads on
    return _follow(FileStore(f"{folder}/store", size), Group(rank, size), say=lambda text: None)


if __name__ == "__main__":
    status = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    sys.stderr.flush()
    os._exit(status)  # threads of native libraries must not hold the process up at its end
