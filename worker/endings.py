"""How a process ends, and what that means for its work."""

import enum
import errno

from pruning.errors import LostProcess, is_out_of_memory
from store.disk import is_full

OUT_OF_MEMORY = 86  # exit statuses of a process that could still say why it ended
NO_SPACE = 87
UNFORESEEN = 88
LOST = 89  # one of several processes that do a job was killed or crashed


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


def status_of(error: BaseException) -> int:
    """The exit status of a process that this error ends; UNFORESEEN: it is about the work, not about this machine."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if is_full(error) or (isinstance(error, OSError) and error.errno == errno.EFBIG):  # or what it may write itself
        return NO_SPACE
    return LOST if isinstance(error, LostProcess) else UNFORESEEN
