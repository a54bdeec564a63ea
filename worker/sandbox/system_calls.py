"""System calls that pruning a net does not need: refused by a seccomp filter, made by libseccomp."""

import ctypes
import errno
import socket
from collections.abc import Iterator, Mapping

from worker.sandbox.kernel import Unavailable, give_up_privileges, require_linux

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EACCES
ALL_THREADS = 4  # SCMP_FLTATR_CTL_TSYNC
GREATER_OR_EQUAL, EQUAL, NOT_EQUAL, MASKED_EQUAL = 5, 4, 1, 7  # SCMP_CMP_...
FORBIDDEN = (
    # a way to make sockets that no filter sees
    ("io_uring_setup",),
    # other processes
    ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"),
    # to leave the group of processes that is killed at the end
    ("setsid", "setpgid"),
    # other views of the system
    ("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "fsopen", "open_tree", "move_mount"),
    # doors of the kernel through which nobody here has to go
    ("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "init_module", "finit_module"),
    ("kexec_load", "open_by_handle_at", "acct", "quotactl", "swapon", "reboot", "syslog"),
)
FAMILY, KIND, PROTOCOL = 0, 1, 2  # arguments of socket()
KINDS = 0xF  # the bits of its second argument that are not flags
FAMILIES = 64  # more than there are
# which sockets processes of one machine open among themselves, by family: TCP, and NCCL one without a file by which it
# hands memory over. No streams of files: they lead to a broker beside us.
Sockets = Mapping[int, int]
NO_SOCKETS: Sockets = {}
OF_GLOO: Sockets = {socket.AF_INET: socket.SOCK_STREAM}
OF_NCCL: Sockets = {**OF_GLOO, socket.AF_UNIX: socket.SOCK_DGRAM}
INTERFACES = 16  # AF_NETLINK; which interfaces there are is its protocol 0


class _Argument(ctypes.Structure):
    """A condition: argument `which`, compared with `value`, or its bits in `value` with `wanted`."""

    _fields_ = (
        ("which", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("wanted", ctypes.c_uint64),
    )


def forbid(sockets: Sockets) -> None:
    """Refuse them with EACCES, in this process and all that it starts, and all sockets but these.

    Raises: Unavailable.
    """
    require_linux()
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise Unavailable("libseccomp.so.2 is not installed") from error
    library.seccomp_init.restype = ctypes.c_void_p
    give_up_privileges()
    made = library.seccomp_init(ctypes.c_uint32(ALLOW))
    if not made:
        raise Unavailable("seccomp")
    rules = ctypes.c_void_p(made)
    try:
        library.seccomp_attr_set(rules, ALL_THREADS, ctypes.c_uint32(1))
        for name in (name for group in FORBIDDEN for name in group):
            _refuse(library, rules, name)
        for conditions in _others(sockets) if sockets else [()]:
            _refuse(library, rules, "socket", *conditions)
        if library.seccomp_load(rules):
            raise Unavailable("seccomp: the kernel takes no filter")
    finally:
        library.seccomp_release(rules)


def _others(sockets: Sockets) -> Iterator[tuple[_Argument, ...]]:
    """Conditions of which each says: it is none of these, nor asks what interfaces there are."""
    for family in range(FAMILIES):
        is_family = _Argument(FAMILY, EQUAL, family, 0)
        if family == INTERFACES:
            yield is_family, _Argument(PROTOCOL, NOT_EQUAL, 0, 0)
        elif family not in sockets:
            yield (is_family,)
        else:
            kinds = (kind for kind in range(KINDS + 1) if kind != sockets[family])
            yield from ((is_family, _Argument(KIND, MASKED_EQUAL, KINDS, kind)) for kind in kinds)
    yield (_Argument(FAMILY, GREATER_OR_EQUAL, FAMILIES, 0),)


def _refuse(library: ctypes.CDLL, rules: ctypes.c_void_p, name: str, *conditions: _Argument) -> None:
    """Raises: Unavailable."""
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:  # not every architecture has all of them
        return
    array = (_Argument * len(conditions))(*conditions)
    if library.seccomp_rule_add_array(rules, ctypes.c_uint32(REFUSE), number, len(conditions), array):
        raise Unavailable(f"seccomp: no rule for {name}")
