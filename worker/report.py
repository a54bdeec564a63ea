"""What a worker knows and /metrics shows: memory of its GPUs, bytes that are stored."""

import logging
import socket

import pynvml
from sqlalchemy import delete

from store import load, tallies
from store.clock import now
from store.database import reading, writing
from store.tables import Tally

log = logging.getLogger(__name__)
SECONDS = 30.0  # a quarter of load.FRESH_SECONDS
DAY = 24 * 3600


def report() -> None:
    """Set the numbers anew; any number of workers may: those of GPUs are by host, those of files are the same."""
    with reading() as session:
        stored = load.stored_bytes(session)
    memory = gpu_memory()
    with writing() as session:
        for kind, size in stored.items():
            tallies.put(session, load.STORED, kind, size)
        for device, (used, total) in memory.items():
            label = f"{socket.gethostname()}/{device}"
            tallies.put(session, load.GPU_USED, label, used)
            tallies.put(session, load.GPU_TOTAL, label, total)
        gone = Tally.name.in_((load.GPU_USED, load.GPU_TOTAL)) & (Tally.at < now() - DAY)
        session.execute(delete(Tally).where(gone))


def gpu_memory() -> dict[int, tuple[int, int]]:
    """Bytes used and there, by number of the device; of all processes. Empty where there is no NVIDIA driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        return {number: _memory(number) for number in range(pynvml.nvmlDeviceGetCount())}
    except pynvml.NVMLError:  # such as a device that has fallen off its bus
        log.warning("the driver does not tell the memory of its GPUs", exc_info=True)
        return {}
    finally:
        pynvml.nvmlShutdown()


def _memory(number: int) -> tuple[int, int]:
    memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(number))
    return int(memory.used), int(memory.total)
