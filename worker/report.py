"""What a worker knows and /metrics shows: memory of its GPUs; and what takes long to count."""

import logging
import socket

import pynvml
from sqlalchemy import delete

from store import jobs, load, tallies
from store.clock import now
from store.database import reading, writing
from store.tables import Tally

log = logging.getLogger(__name__)
SECONDS = 30.0  # a quarter of load.FRESH_SECONDS
DAY = 24 * 3600


def report() -> None:
    """Set the numbers anew; any number of workers may: those of GPUs are by host, the others are of all."""
    _report_stored()
    _report_gpus()


def _report_stored() -> None:
    """Counting reads all rows, so one worker does it for all."""
    with reading() as session:
        if load.is_reported(session, SECONDS * 0.9):
            return
        found = {load.STORED: load.stored_bytes(session), load.ENDED: jobs.count_by_status(session, *jobs.ENDED)}
    with writing() as session:
        for name, numbers in found.items():
            for label, number in numbers.items():
                tallies.put(session, name, label, number)


def _report_gpus() -> None:
    memory = gpu_memory()
    if not memory:
        return
    with writing() as session:
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
