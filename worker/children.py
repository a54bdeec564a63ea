"""Child processes that end with their parent."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent(how: signal.Signals) -> None:
    """Called in a new child: the kernel sends it this signal when the thread that started it is gone.

    Only Linux can do this; elsewhere the child of a killed parent finds out at its next guarded write.
    """
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, how)


def end_if_orphaned(parent: int) -> None:
    """The parent may have gone before the kernel was asked to tell."""
    if os.getppid() != parent:
        os._exit(0)
