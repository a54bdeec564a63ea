"""A TCP proxy that can let connections die half-open: they stay, and nothing comes through any more."""

import socket
import threading
from types import TracebackType


class Proxy:
    """In front of a server, until the end of the context."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._frozen: set[socket.socket] = set()

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for one in (self.listener, *self._open):
            one.close()

    def freeze(self) -> None:
        """Nothing more comes through the connections that there are; new ones are as good as ever."""
        self._frozen.update(self._open)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
            except OSError:  # closed
                return
            self._open += [client, server]
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                if source not in self._frozen:
                    target.sendall(content)
        except OSError:
            return
        finally:
            if source not in self._frozen:
                target.close()
