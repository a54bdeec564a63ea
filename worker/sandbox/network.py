"""A network of its own, in which there is nothing, or nothing but loopback."""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

from worker.sandbox.kernel import LIBC, Unavailable, called, give_up_privileges, require_linux

CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWNS = 0x10000000, 0x40000000, 0x08000000, 0x00020000
NOTHING = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 1 << 14, 1 << 18
SHARED_MEMORY = Path("/dev/shm")  # nosec B108  # where NCCL's processes meet
OWN_SHARED_MEMORY = b"size=1g,mode=700"
CAPABILITIES_VERSION = 0x20080522


def leave() -> None:
    """Enter an empty network, and the user namespace that it takes. Files keep their owners.

    Raises: Unavailable: containers often forbid it; system_calls.forbid then refuses sockets all the same.
    """
    require_linux()
    called(LIBC.unshare(NOTHING), "namespaces")


def leave_together(memory: bool) -> None:
    """As leave, for a process and those that it will start: they can reach each other, and nobody else.

    They have loopback and, with memory, a /dev/shm of their own; the rights that this takes are given up again.
    Raises: Unavailable: any of it is forbidden; none of it may be relied on then.
    """
    require_linux()
    user, group = os.geteuid(), os.getegid()
    called(LIBC.unshare(NOTHING | CLONE_NEWNS), "namespaces")
    try:
        _keep_ids(user, group)
        _raise_loopback()
        if memory:
            _replace_shared_memory()
    except OSError as error:
        raise Unavailable(f"a network of loopback alone: {error.strerror}") from error
    _drop_capabilities()
    give_up_privileges()  # or root, which is root in its namespace too, has them back with the next program


def _keep_ids(user: int, group: int) -> None:
    """Files of somebody whom the namespace does not know cannot be made in a file system of it."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(text)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _replace_shared_memory() -> None:
    """That of the system is everybody's. Nothing that is mounted here is seen outside."""
    called(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount namespace")
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    called(LIBC.mount(b"tmpfs", bytes(SHARED_MEMORY), b"tmpfs", flags, OWN_SHARED_MEMORY), str(SHARED_MEMORY))


def _drop_capabilities() -> None:
    """Whoever makes a namespace has all rights in it, as over its firewall: much of the kernel to reach by sockets."""
    who, none = struct.pack("Ii", CAPABILITIES_VERSION, 0), bytes(24)
    called(LIBC.capset(ctypes.c_char_p(who), ctypes.c_char_p(none)), "capabilities")
