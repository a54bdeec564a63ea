"""How a process ends, and what that means for its work."""

import enum
import errno

OUT_OF_MEMORY = 86  # exit statuses of a process that met a limit and could still say so
NO_SPACE = 87
UNFORESEEN = 88


class Ended(enum.Enum):
    """How a process ended."""

    DONE = "it ended by itself and had said so"
    UNWANTED = "the row is being cancelled, or belongs to another attempt"
    MEMORY = "it needed more memory than it may have"
    SPACE = "there was no space left on the disk"
    TIME = "it took longer than it may"
    STOPPED = "this worker is being stopped"
    NO_DATABASE = "the database was away for too long"
    CRASHED = "it was killed or crashed"


def is_disk_full(error: BaseException) -> bool:
    """Whether there was no space for a file, or no room in what this process may write."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.errno in full
