"""What the process that reads strangers' files cannot do, as far as this system can forbid it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.sandbox import files, network, system_calls
from worker.sandbox.kernel import Unavailable


@dataclass(frozen=True)
class Walls:
    """Which of the walls stand; each is None, or why it does not."""

    network: str | None
    files: str | None
    system_calls: str | None

    def __str__(self) -> str:
        said = (f"{name}: {f'not confined ({why})' if why else 'confined'}" for name, why in vars(self).items())
        return ", ".join(said).replace("_", " ")


def enclose(reads: list[Path], writes: list[Path]) -> Walls:
    """Confine this process and all that it starts, for good. Call before there is a second thread.

    Args: reads: files and folders beside those of the system and of Python; writes: folders.
    """
    return Walls(
        _why_not(network.leave),
        _why_not(lambda: files.confine(reads, writes)),
        _why_not(system_calls.forbid),
    )


def _why_not(wall: Callable[[], None]) -> str | None:
    try:
        wall()
    except Unavailable as error:
        return str(error)
    return None
