"""Somebody on the way: a relay for HTTP/1.1 that changes one thing of each request.

It stands between an unmodified SDK and the proxy, so that what the proxy gets is not what was
signed. It counts the requests that the SDK makes.
"""

import socket
import socketserver
import threading
import urllib.parse


class Request:
    """A request as it came: the request line's parts, headers in order, the body."""

    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body

    def replace(self, name, change):
        """Changes the value of a header; the first of that name."""
        for at, (found, value) in enumerate(self.headers):
            if found.lower() == name:
                self.headers[at] = (found, change(value))
                return

    def bytes(self):
        headers = [(n, v) for n, v in self.headers if n.lower() not in ("content-length", "connection")]
        headers += [("content-length", str(len(self.body))), ("connection", "close")]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} {self.target} HTTP/1.1\r\n{head}\r\n".encode() + self.body


class Tamperer:
    """A relay to `url` that hands every request to `alter`."""

    def __init__(self, url, alter):
        upstream = urllib.parse.urlsplit(url)
        relay = self
        self.requests = 0

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                request = read(self.request)
                if request is None:
                    return
                relay.requests += 1
                alter(request)
                with socket.create_connection((upstream.hostname, upstream.port), timeout=30) as away:
                    away.sendall(request.bytes())
                    while piece := away.recv(65536):
                        self.request.sendall(piece)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def read(connection):
    """One request; None when the client closes without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    length = next((int(v) for n, v in headers if n.lower() == "content-length"), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return Request(method, target, headers, body)
