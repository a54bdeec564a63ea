"""Which files may be opened: Landlock (Linux 5.13 and later, no privileges needed).

Source: the kernel's userspace API, Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os
import stat
import sys
from pathlib import Path

from worker.sandbox.kernel import LIBC, called, give_up_privileges, require_linux

CREATE, ADD, RESTRICT = 444, 445, 446  # the same numbers on all architectures
VERSION_ONLY, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
TRUNCATE, IOCTL = 1 << 14, 1 << 15
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL
LOOK = EXECUTE | READ_FILE | READ_DIR
KNOWN = {1: 13, 2: 14, 3: 15, 4: 15}  # rights of the first versions; 16 since the fifth
SINCE_SIGNALS, OTHERS = 6, 3  # abstract sockets of, and signals to, processes outside
HOUSE = Path(__file__).parent.parent.parent
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/proc", "/sys")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class _Rules(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def confine(reads: list[Path], writes: list[Path]) -> None:
    """Nothing but these, Python's own, the system's libraries and graphics cards can be opened any more.

    With it go other processes' memory and environment, and, where the kernel knows how, signals to them.
    Raises: Unavailable.
    """
    require_linux()
    version = called(LIBC.syscall(CREATE, None, 0, VERSION_ONLY), "Landlock")
    everything = (1 << KNOWN.get(version, 16)) - 1
    rules = _Rules(everything, 0, OTHERS if version >= SINCE_SIGNALS else 0)
    size = ctypes.sizeof(rules) if rules.scoped else 8
    handle = called(LIBC.syscall(CREATE, ctypes.byref(rules), size, 0), "Landlock")
    try:
        for path in [*map(Path, SYSTEM), *_python(), *reads]:
            _allow(handle, path, LOOK & everything)
        for path in [*map(Path, DEVICES), *Path("/dev").glob("nvidia*"), *writes]:
            _allow(handle, path, everything)
        give_up_privileges()
        called(LIBC.syscall(RESTRICT, handle, 0), "Landlock")
    finally:
        os.close(handle)


def _python() -> list[Path]:
    """Where Python, its packages and ours are."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path)}
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    ours = [HOUSE / name for name in ("pruning", "worker")]
    return [Path(p).resolve() for p in [*prefixes, *filter(None, libraries)] if Path(p) != HOUSE] + ours


def _allow(rules: int, path: Path, allowed: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            allowed &= OF_A_FILE
        beneath = _Beneath(allowed, handle)
        called(LIBC.syscall(ADD, rules, PATH_BENEATH, ctypes.byref(beneath), 0), f"Landlock of {path}")
    finally:
        os.close(handle)
