"""What a disk says that has no room left."""

import errno


def is_full(error: BaseException) -> bool:
    """Whether there was no space for a file, or no more for this user."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
