"""The wire between a replica and its database: passes bytes on until it is cut, or until it loses the
answers of the server. Knows nothing of what passes.
"""

import contextlib
import socket
import struct
import threading

# A connection that is closed so is reset: the other end learns it at once, and bytes are lost.
RESET = struct.pack("ii", 1, 0)


class Wire:
    """A port of its own before a port of this machine."""

    def __init__(self, port):
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._ends = set()
        self._lock = threading.Lock()
        self._down = self._loses_answers = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._to)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._ends |= {client, server}
            if self._down:
                self._break()
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, answers), daemon=True).start()

    def _pass(self, source, sink, answers):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not (answers and self._loses_answers):
                    sink.sendall(data)
        for end in (source, sink):
            self._close(end)

    def _close(self, end):
        with self._lock:
            self._ends.discard(end)
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    def _break(self):
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            self._close(end)

    @contextlib.contextmanager
    def cut(self):
        """Every connection breaks, and none is made meanwhile."""
        self._down = True
        self._break()
        try:
            yield
        finally:
            self._down = False

    @contextlib.contextmanager
    def losing_answers(self):
        """The server does what it is told, and nobody hears of it; then the connections break."""
        self._loses_answers = True
        try:
            yield
        finally:
            self._break()
            self._loses_answers = False

    def close(self):
        self._listener.close()
        self._break()
