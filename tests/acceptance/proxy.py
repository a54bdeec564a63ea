"""A TCP proxy whose connections can fail as those of a network do."""

import socket
import struct
import threading
from types import TracebackType

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is closed so tells the other side that it was cut


class Proxy:
    """In front of a server, until the end of the context."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._frozen: set[socket.socket] = set()
        self._passes = threading.Event()
        self._passes.set()
        self._is_refusing = False

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._passes.set()
        self.listener.close()
        for one in list(self._open):
            one.close()

    def freeze(self) -> None:
        """Nothing more comes through the connections that there are; new ones are as good as ever."""
        self._frozen.update(self._open)

    def hold(self) -> None:
        """Nothing comes through, old or new; what is sent meanwhile arrives late, when it is released."""
        self._passes.clear()

    def reset(self) -> None:
        """Connections are torn, and new ones too as soon as they are made, until it is released."""
        self._is_refusing = True
        for one in list(self._open):
            _tear(one)

    def release(self) -> None:
        """The network is back."""
        self._is_refusing = False
        self._passes.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        self._passes.wait()
        try:
            if self._is_refusing:
                raise ConnectionRefusedError
            server = socket.create_connection(self.target)
        except OSError:
            _tear(client)
            return
        self._open |= {client, server}
        for ends in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                self._passes.wait()
                if source not in self._frozen:
                    target.sendall(content)
        except OSError:
            return
        finally:
            self._passes.wait()
            if source not in self._frozen:
                for one in (source, target):
                    self._open.discard(one)
                    _shut(one)


def _shut(one: socket.socket) -> None:
    """The pump of the other direction sees the end."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:  # it was closed already
        return
    finally:
        one.close()


def _tear(one: socket.socket) -> None:
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    except OSError:  # it was closed already
        return
    _shut(one)
