"""A network of its own, in which there is nothing, not even loopback."""

from worker.sandbox.kernel import LIBC, called, require_linux

CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000


def leave() -> None:
    """Enter an empty network, and the user namespace that it takes. Files keep their owners.

    Raises: Unavailable: containers often forbid it; system_calls.forbid then refuses sockets all the same.
    """
    require_linux()
    called(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC), "namespaces")
