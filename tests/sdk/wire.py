"""The wire between a replica and its database: passes bytes on until it is cut, or until it loses the
answers of the server. Knows nothing of what passes.
"""

import contextlib
import socket
import struct
import threading

# A connection that is closed so is reset: the other end learns it at once, and bytes are lost.
RESET = struct.pack("ii", 1, 0)


class Pair:
    """The two ends of one connection. Two threads read and write both, so nobody closes them before
    both have left: the number of a closed socket is soon another connection's.
    """

    def __init__(self, *ends):
        self._ends, self._threads = ends, 2
        self._lock = threading.Lock()
        self.is_closed = False

    def shut(self):
        """Wakes both threads; what comes now is lost."""
        with self._lock:
            if not self.is_closed:
                for end in self._ends:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def leave(self):
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self.is_closed = True
                for end in self._ends:
                    with contextlib.suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.close()


class Wire:
    """A port of its own before a port of this machine, or before a socket file."""

    def __init__(self, to):
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._pairs = set()
        self._lock = threading.Lock()
        self._down = self._loses_answers = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            pair = Pair(client, server)
            with self._lock:
                self._pairs = {one for one in self._pairs if not one.is_closed} | {pair}
            if self._down:
                pair.shut()
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(pair, source, sink, answers), daemon=True).start()

    def _connect(self):
        if isinstance(self._to, int):
            return socket.create_connection(("127.0.0.1", self._to))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._to))
        except OSError:
            server.close()
            raise
        return server

    def _pass(self, pair, source, sink, answers):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not (answers and self._loses_answers):
                    sink.sendall(data)
        pair.shut()
        pair.leave()

    def _break(self):
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.shut()

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
        # Closing wakes nobody who accepts, and one who is woken later takes the connections of the
        # socket that has its number by then.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self._break()
