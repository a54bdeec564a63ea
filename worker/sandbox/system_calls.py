"""System calls that pruning a net does not need: refused by a seccomp filter, made by libseccomp."""

import ctypes
import errno

from worker.sandbox.kernel import Unavailable, give_up_privileges, require_linux

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EACCES
ALL_THREADS = 4  # SCMP_FLTATR_CTL_TSYNC
FORBIDDEN = (
    # to anybody: no socket at all, also not those of files, which lead to a broker beside us
    ("socket", "io_uring_setup"),
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


def forbid() -> None:
    """Refuse them with EACCES, in this process and all that it starts.

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
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number >= 0:  # not every architecture has all of them
                library.seccomp_rule_add_array(rules, ctypes.c_uint32(REFUSE), number, 0, None)
        if library.seccomp_load(rules):
            raise Unavailable("seccomp: the kernel takes no filter")
    finally:
        library.seccomp_release(rules)
