"""Calls into Linux that Python has no names for."""

import ctypes
import os
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS = 38


class Unavailable(Exception):
    """This system cannot forbid it."""


def called(result: int, what: str) -> int:
    """The result of a call. Raises: Unavailable: it failed."""
    if result < 0:
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def require_linux() -> None:
    """Raises: Unavailable."""
    if sys.platform != "linux":
        raise Unavailable("only Linux can do this")


def give_up_privileges() -> None:
    """No program that this process starts has more rights than it has: without it nothing below is allowed."""
    called(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
