"""Nothing that is secret, and no text of a prompt or an answer, is found where it does not belong.

Each secret is a word of its own that is planted in a place where a client, Bedrock or an operator
puts such a thing. Then calls are made, good ones, refused ones and broken ones, with the log at its
lowest level, and everything that the program says or writes down is searched for each word.
"""

import base64
import binascii
import http.server
import json
import struct
import threading
import unittest

import clients
from harness import MODEL, Workspace, run
from suite_telemetry import Collector

# What a client sends.
CLIENT = {
    "prompt": "canary-prompt-4d1f",
    "signature": "canary5ignature0c7e",
    "session token": "canary-session-token-91aa",
    "bearer token": "canary-bearer-token-5b20",
    "api key": "canary-x-api-key-77e1",
    "cookie": "canary-cookie-13c9",
    "proxy password": "canary-proxy-password-e0d4",
    "user of the URL": "canary-url-user-6a6a",
    "password of the URL": "canary-url-password-8f02",
    "signature of the query": "canary-query-signature-2bd8",
    "token of the query": "canary-query-token-c40f",
    "secret in place of a tenant": "canary secret/as-tenant+9e3b",
    "secret in place of a path": "canary-in-path-d55d",
    "secret in place of a header's name": "canary-header-name-0b6b",
    "user": "canary-user-19f3@example.com",
    "user of the body": "canary-body-user-a7c2",
    "unknown header": "canary-unknown-header-f1e6",
}
# What Bedrock answers.
BEDROCK = {
    "answer": "canary-answer-3e70",
    "words of an error": "canary-error-words-be11",
    "cookie of an answer": "canary-set-cookie-40c8",
    "header of an answer": "canary-answer-header-7a9d",
}
# What the operator configures.
OPERATOR = {
    "secret access key": "canary-secret-access-key-d2f7",
    "session token of the proxy": "canary-proxy-session-8c31",
    "admin token": "canary-admin-token-5f6e0d12a9",
    "metrics token": "canary-metrics-token-77ab21c0",
    "key of pseudonyms": "canary-pseudonym-key-b91c55e2",
    "authorization of the collector": "canary-collector-authorization",
    "header of the collector": "canary-collector-header",
}
WAIT_SECONDS_MAX = 30


def frame(kind, payload):
    """One frame of an event stream."""
    def header(name, value):
        return bytes([len(name)]) + name + b"\7" + struct.pack(">H", len(value)) + value

    headers = header(b":event-type", kind) + header(b":message-type", b"event")
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))


class Bedrock(http.server.BaseHTTPRequestHandler):
    """Answers with canaries: a stream, a body, an error, or a stream that breaks off."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        text = json.dumps({"text": BEDROCK["answer"]})
        usage = '{"inputTokens":5,"outputTokens":2,"totalTokens":7}'
        answer = '{"output":{"message":%s},"stopReason":"end_turn","usage":%s}' % (text, usage)
        stream = frame(b"contentBlockDelta", text.encode())
        kind = self.headers.get("x-answer")
        if kind == "error":
            self.reply(400, "application/json", json.dumps({"message": BEDROCK["words of an error"]}))
        elif kind == "garbage":
            self.reply(200, "application/vnd.amazon.eventstream", BEDROCK["answer"] * 20)
        elif kind == "broken":
            self.reply(200, "application/vnd.amazon.eventstream", stream, more=100)
        elif kind == "not-json":
            self.reply(200, "application/json", '{"usage": ' + BEDROCK["answer"])
        elif self.path.endswith("-stream"):
            stream += frame(b"metadata", b'{"usage":%s}' % usage.encode())
            self.reply(200, "application/vnd.amazon.eventstream", stream)
        else:
            self.reply(200, "application/json", answer)

    def reply(self, status, kind, body, more=0):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) + more))
        self.send_header("set-cookie", BEDROCK["cookie of an answer"])
        self.send_header("x-something", BEDROCK["header of an answer"])
        if status != 200:
            self.send_header("x-amzn-errortype", "ValidationException")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = more > 0

    def log_message(self, *_):
        pass


def headers(**more):
    return {
        "content-type": "application/json",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIACLIENT/20261122/us-east-1/bedrock/aws4_request, "
                         f"SignedHeaders=host, Signature={CLIENT['signature']}",
        "x-amz-security-token": CLIENT["session token"],
        "x-api-key": CLIENT["api key"],
        "cookie": f"session={CLIENT['cookie']}",
        "proxy-authorization": f"Basic {CLIENT['proxy password']}",
        "x-bedrock-meter-user": CLIENT["user"],
        "x-unknown": CLIENT["unknown header"],
        "user-agent": "Boto3/1.2.3",
        **more,
    }


BODY = json.dumps({
    "messages": [{"role": "user", "content": [{"text": CLIENT["prompt"]}]}],
    "metadata": {"user_id": CLIENT["user of the body"]},
}).encode()
QUERY = (f"?X-Amz-Signature={CLIENT['signature of the query']}"
         f"&X-Amz-Security-Token={CLIENT['token of the query']}")


def raw(proxy, first, *lines, body=b""):
    """Bytes as they are; what comes until the proxy closes or is silent."""
    connection = clients.connect(proxy.url)
    connection.settimeout(2)
    head = "\r\n".join([first, *lines, f"content-length: {len(body)}", "connection: close", "", ""])
    connection.sendall(head.encode("latin-1") + body)
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except OSError:
        pass
    connection.close()
    return received


def calls(proxy):
    """Makes every call; gives the answers that the proxy itself wrote."""
    own = []

    def call(path=f"/tenant/search/model/{MODEL}/converse", **more):
        status, answer, body = clients.exchange(proxy.url, "POST", path, headers(**more), BODY)
        if "x-bedrock-meter-error" in answer:
            own.append(repr((status, answer)).encode() + body)
        return status

    assert call() == 200
    assert call(f"/tenant/search/model/{MODEL}/converse-stream") == 200
    assert call(f"/tenant/search/model/{MODEL}/invoke") == 200
    assert call(f"/tenant/search/model/{MODEL}/converse" + QUERY) == 200
    assert call(authorization=f"Bearer {CLIENT['bearer token']}") == 200
    for kind in ("error", "garbage", "not-json"):
        call(**{"x-answer": kind})
        call(f"/tenant/search/model/{MODEL}/converse-stream", **{"x-answer": kind})
    # A header and a path that name what is no tenant, no region, no operation, no path.
    call(f"/model/{MODEL}/converse", **{"x-bedrock-meter-tenant": CLIENT["secret in place of a tenant"]})
    call(f"/tenant/{CLIENT['secret in place of a path']}%zz/model/a/converse")
    call(f"/{CLIENT['secret in place of a path']}")
    call(f"/model/{CLIENT['secret in place of a path']}/../converse")
    call(f"/region/mars-1/{CLIENT['secret in place of a path']}")
    own.append(raw(proxy, f"POST /model/{MODEL}/converse HTTP/1.1", "host: a", "host: b",
                   f"authorization: Bearer {CLIENT['bearer token']}", body=BODY))
    userinfo = f"{CLIENT['user of the URL']}:{CLIENT['password of the URL']}"
    own.append(raw(proxy, f"POST http://{userinfo}@127.0.0.1/model/{MODEL}/converse HTTP/1.1",
                   "host: a", body=BODY))
    name = CLIENT["secret in place of a header's name"]
    own.append(raw(proxy, f"POST /model/{MODEL}/converse HTTP/1.1", "host: a", f"{name} : x", body=BODY))
    own.append(raw(proxy, f"POST /model/{MODEL}/converse HTTP/1.1", f"host: {userinfo}@a", body=BODY))
    # An answer that breaks off, and a client that leaves.
    raw(proxy, f"POST /tenant/search/model/{MODEL}/converse-stream HTTP/1.1", "host: a",
        "x-answer: broken", f"cookie: {CLIENT['cookie']}", body=BODY)
    return own


def admin(proxy, path, token):
    given = {"authorization": f"Bearer {token}", "host": "localhost"}
    return clients.exchange(proxy.admin, "GET", path, given, b"")[2]


class Canaries(unittest.TestCase):
    maxDiff = None

    def search(self, places, words):
        """Fails for each word that stands in a place, plain, in base64 or in hexadecimal."""
        for name, text in places.items():
            for what, word in words.items():
                spellings = [word.encode(), word.encode().hex().encode()]
                spellings += [base64.b64encode(word.encode())[:-4]]
                with self.subTest(place=name, secret=what):
                    found = [s for s in spellings if s in text]
                    self.assertEqual([], found)

    def hold(self, log_format):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bedrock)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        upstream = f"http://127.0.0.1:{server.server_address[1]}"
        with Workspace() as workspace, Collector() as collector:
            access_log = workspace.path / "access.log"
            proxy = workspace.proxy(
                upstream,
                admin={"token": OPERATOR["admin token"], "metrics_token": OPERATOR["metrics token"]},
                identity={"pseudonym_key": OPERATOR["key of pseudonyms"]},
                log={"level": "trace", "format": log_format},
                upstream__credentials={
                    "secret_access_key": OPERATOR["secret access key"],
                    "session_token": OPERATOR["session token of the proxy"],
                },
                telemetry__otlp={
                    "endpoint": collector.url,
                    "interval": "50ms",
                    "authorization": f"Basic {OPERATOR['authorization of the collector']}",
                },
                telemetry__otlp__headers={"x-scope": OPERATOR["header of the collector"]},
                telemetry__access_log={"path": str(access_log)},
            )
            own = calls(proxy)
            entries = proxy.wait_for_entries(12, WAIT_SECONDS_MAX)
            self.assertEqual(12, len(entries))
            self.assertEqual(12, len(collector.wait_for_spans(12)))
            token = OPERATOR["admin token"]
            pages = [admin(proxy, path, token) for path in
                     ("/metrics", "/api/v1/report?by=tenant", "/api/v1/live", "/readyz",
                      f"/api/v1/calls/{entries[0]['call_id']}")]
            refused = admin(proxy, "/metrics", "wrong-" + token)
            places = {
                "the proxy's own answers": b"\n".join(own),
                "admin pages": b"\n".join(pages),
                "refusal of the admin listener": refused.replace(b"wrong-" + token.encode(), b""),
                "spans and metrics": b"\n".join(body for _, _, body in collector.requests),
                "files of the ledger while it runs": self.files(proxy.ledger),
                "printed settings": run("check-config", proxy.config)[1].encode(),
                "report": run("report", "--config", proxy.config)[1].encode(),
                "explain": run("explain", entries[0]["call_id"], "--config", proxy.config)[1].encode(),
            }
            self.assertEqual(0, proxy.terminate())
            places["log"] = proxy.text().encode()
            places["access log"] = access_log.read_bytes()
            places["files of the ledger"] = self.files(proxy.ledger)
            server.shutdown()
            # The search would find them: what belongs there is there.
            self.assertIn(b'"tenant":"search"', places["access log"])
            self.assertIn(b"search", places["files of the ledger"])
            self.assertIn(b"refused", places["log"])
            self.assertIn(b"bedrock-meter:", places["the proxy's own answers"])
            self.assertTrue(all(len(text) > 0 for text in places.values()), places.keys())
            self.search(places, CLIENT | BEDROCK | OPERATOR)

    @staticmethod
    def files(directory):
        # The key of pseudonyms would be in a file of its own, had it not been configured.
        files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
        return b"\n".join(path.read_bytes() for path in files)

    def test_none_is_found_beside_a_log_of_text(self):
        self.hold("text")

    def test_none_is_found_beside_a_log_of_json(self):
        self.hold("json")
