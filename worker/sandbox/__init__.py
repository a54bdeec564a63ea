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


def enclose(reads: list[Path], writes: list[Path], together: bool = False) -> Walls:
    """Confine this process and all that it starts, for good. Call before there is a second thread.

    Args: reads: files and folders beside those of the system and of Python; writes: folders; together: they may talk
    to each other, which they can only where the wall of the network stands: elsewhere there are no sockets at all.
    """
    no_network = _why_not(leave_together if together else network.leave)
    sockets = system_calls.NO_SOCKETS
    if together and no_network is None:
        sockets = system_calls.OF_NCCL if has_cards() else system_calls.OF_GLOO
        writes = [*writes, network.SHARED_MEMORY] if has_cards() else writes
    return Walls(
        no_network,
        _why_not(lambda: files.confine(reads, writes)),
        _why_not(lambda: system_calls.forbid(sockets)),
    )


def leave_together() -> None:
    """The wall of the network for processes that talk to each other. Raises: Unavailable."""
    network.leave_together(memory=has_cards())


def has_cards() -> bool:
    """Whether NCCL would be used here, which takes more than gloo does."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _why_not(wall: Callable[[], None]) -> str | None:
    try:
        wall()
    except Unavailable as error:
        return str(error)
    return None
