"""Stands between proxies and the simulator and counts the calls that are inside at the same time."""

import contextlib
import http.client
import http.server
import threading
import urllib.parse


class Turnstile:
    """A call is inside from its arrival until the last byte of its answer but the end is sent on."""

    def __init__(self, upstream):
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.now = self.peak = 0
        self._lock = threading.Lock()
        turnstile = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                turnstile.pass_on(self)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def inside(self):
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1

    def pass_on(self, request):
        with self.inside():
            body = request.rfile.read(int(request.headers["content-length"]))
            connection = http.client.HTTPConnection(self.upstream, timeout=60)
            connection.putrequest("POST", request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            request.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    request.send_header(name, value)
            request.send_header("transfer-encoding", "chunked")
            request.end_headers()
            while piece := answer.read1(65_536):
                request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.close()
        request.wfile.write(b"0\r\n\r\n")
