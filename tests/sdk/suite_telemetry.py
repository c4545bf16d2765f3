"""What leaves the proxy: spans and metrics at a collector, and the access log.

The collector is an HTTP server that reads requests with the official OTLP classes. What it got is
held against the ledger, and the ledger's tokens against the simulator's own bill.
"""

import collections
import decimal
import http.server
import json
import re
import ssl
import subprocess
import threading
import time
import unittest

import clients
from harness import MODEL, Workspace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
CANARY = "canary-7f3a"
BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": CANARY}]}]}).encode()
WAIT_SECONDS_MAX = 60


class Collector:
    """Takes OTLP over HTTP; `hold` makes it keep requests waiting, `status` what it answers."""

    def __init__(self, certificate=None):
        self.requests = []
        self.status = 200
        self.hold = None
        self.held = threading.Event()
        self.changed = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if outer.hold:
                    outer.held.set()
                    outer.hold.wait(WAIT_SECONDS_MAX)
                with outer.changed:
                    outer.requests.append((self.path, dict(self.headers), body))
                    outer.changed.notify_all()
                try:
                    self.send_response(outer.status)
                    self.send_header("content-length", "0")
                    if outer.status != 200:
                        self.send_header("connection", "close")
                    self.end_headers()
                except OSError:
                    pass  # the proxy waits no longer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.hold:
            self.hold.set()
        self.server.shutdown()
        self.server.server_close()

    def spans(self):
        """Every span that came, as a dictionary, with its resource's attributes."""
        found = []
        for path, _, body in list(self.requests):
            if not path.endswith("/v1/traces"):
                continue
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = attributes(resource.resource.attributes)
                for scope in resource.scope_spans:
                    found += [(span, attributes(span.attributes), about) for span in scope.spans]
        return found

    def metrics(self):
        """The metrics of the latest request."""
        bodies = [body for path, _, body in self.requests if path.endswith("/v1/metrics")]
        found = ExportMetricsServiceRequest.FromString(bodies[-1]).resource_metrics
        return {m.name: m for r in found for s in r.scope_metrics for m in s.metrics}

    def wait_for_spans(self, count):
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        with self.changed:
            while len(self.spans()) < count and time.monotonic() < deadline:
                self.changed.wait(deadline - time.monotonic())
        return self.spans()


def attributes(pairs):
    values = {}
    for pair in pairs:
        assert pair.key not in values, pair.key
        values[pair.key] = getattr(pair.value, pair.value.WhichOneof("value"))
    return values


def otlp(collector, **more):
    return {"endpoint": collector.url, "interval": "50ms", **more}


def call(proxy, operation="converse", script="", traceparent=None, path="/tenant/search/application/web",
         **headers):
    """One call on a connection of its own: status, headers, body."""
    headers = {"Content-Type": "application/json", "User-Agent": "Boto3/1.2.3 secret-host", **headers}
    if script:
        headers["x-simulate"] = script
    if traceparent:
        headers["traceparent"] = traceparent
    return clients.exchange(proxy.url, "POST", f"{path}/model/{MODEL}/{operation}", headers, BODY)


def abandon(proxy, path="/tenant/search/application/web"):
    """A stream that its client leaves after the first content."""
    connection = clients.connect(proxy.url)
    headers = {"Host": "localhost", "Content-Type": "application/json", "traceparent": SAMPLED,
               "x-simulate": "frames=20,frame-delay-ms=20"}
    path = f"{path}/model/{MODEL}/converse-stream"
    connection.sendall(clients.request_bytes("POST", path, headers, BODY))
    received = b""
    while b"contentBlockDelta" not in received:
        chunk = connection.recv(65536)
        assert chunk, received
        received += chunk
    connection.close()


def wait_until(true):
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def entry_id(entry):
    return entry["call_id"]


def ledger_cost(entry):
    """The exact amount of an entry, from its two columns."""
    micro, femto = entry["cost_microusd"], entry["cost_femtousd"]
    return decimal.Decimal(micro).scaleb(-6) + decimal.Decimal(femto).scaleb(-15)


def prompt(usage):
    """All prompt tokens of an entry or of a line of the bill: the conventions count cached ones."""
    kinds = ("input", "cache_read", "cache_write_5m", "cache_write_30m", "cache_write_1h")
    return sum(usage.get(f"{kind}_tokens") or 0 for kind in kinds)


def sum_of(metric, **wanted):
    """The sum over the points of a metric with these attributes."""
    kind = metric.WhichOneof("data")
    total = 0
    for point in getattr(metric, kind).data_points:
        if wanted.items() <= attributes(point.attributes).items():
            total += point.sum if kind == "histogram" else point.as_double
    return total


class Traces(unittest.TestCase):
    maxDiff = None

    def test_spans_and_metrics_say_what_the_ledger_says(self):
        with Workspace() as workspace, Collector() as collector:
            simulator = workspace.simulator()
            settings = otlp(collector, authorization="Basic c2VjcmV0", service_name="meter-7")
            proxy = workspace.proxy(
                simulator.url, telemetry__otlp=settings,
                telemetry__otlp__headers={"x-scope-orgid": "9"},
                telemetry__otlp__resource={'"deployment.environment.name"': "test"},
            )
            client = clients.boto3_client(proxy.url + "/tenant/search/application/web")
            client.meta.events.register(
                "before-send.bedrock-runtime",
                lambda request, **_: request.headers.__setitem__("traceparent", SAMPLED),
            )
            client.converse(modelId=MODEL, messages=clients.CONVERSE)
            stream = client.converse_stream(modelId=MODEL, messages=clients.CONVERSE)["stream"]
            self.assertTrue(list(stream))
            client.invoke_model(modelId=MODEL, body=json.dumps(clients.CLAUDE))["body"].read()
            call(proxy, script="status=429:ThrottlingException", traceparent=SAMPLED)
            abandon(proxy)
            call(proxy, script="input=100,cache-read=50,cache-write-5m=30,output=7")
            call(proxy, traceparent=SAMPLED.upper())
            call(proxy, traceparent=SAMPLED[:-1] + "0")
            entries = proxy.wait_for_entries(8, WAIT_SECONDS_MAX)
            collector.wait_for_spans(7)
            proxy.terminate()
            spans = {a["bedrock_meter.call_id"]: (s, a, r) for s, a, r in collector.spans()}
            bill = {row["request_id"]: row["usage"] for row in simulator.served()}
            by_id = {entry_id(entry): entry for entry in entries}

            with self.subTest("a span for each call but the one whose caller does not sample"):
                self.assertEqual((8, 7, 7), (len(entries), len(spans), len(collector.spans())))
                self.assertLessEqual(set(spans), set(by_id))
            joined = [s for s, _, _ in spans.values() if s.trace_id.hex() == TRACE]
            with self.subTest("calls join the trace of their callers"):
                self.assertEqual(5, len(joined))
                self.assertEqual({SPAN}, {s.parent_span_id.hex() for s in joined})
                self.assertEqual({0x301}, {s.flags for s in joined})
                self.assertEqual(7, len({s.span_id for s, _, _ in spans.values()}))
            with self.subTest("without a valid one a trace begins here"):
                own = {s.trace_id.hex() for s, _, _ in spans.values() if s not in joined}
                self.assertEqual(2, len(own))
                self.assertEqual({b""}, {s.parent_span_id for s, _, _ in spans.values()
                                         if s not in joined})
            for call_id, (span, told, about) in spans.items():
                entry = by_id[call_id]
                with self.subTest("one span", outcome=entry["outcome"], operation=entry["operation"]):
                    self.check_span(span, told, entry)
                    if entry["status"] == 200:
                        served = bill[entry["aws_request_id"]]
                        self.assertEqual(served["output_tokens"], told["gen_ai.usage.output_tokens"])
                        self.assertEqual(prompt(served), told["gen_ai.usage.input_tokens"])
                        self.assertEqual(served.get("cache_read_tokens", 0),
                                         told.get("gen_ai.usage.cache_read.input_tokens", 0))
                    self.assertEqual("meter-7", about["service.name"])
                    self.assertEqual("test", about["deployment.environment.name"])
            with self.subTest("every kind of end was there"):
                ends = collections.Counter(e["outcome"] for e in by_id.values())
                self.assertEqual({"success": 6, "throttled": 1, "client_left": 1}, dict(ends))
            with self.subTest("metrics sum up to the ledger, unsampled calls included"):
                self.check_metrics(collector.metrics(), entries)
            with self.subTest("headers of the settings are sent"):
                for _, headers, _ in collector.requests:
                    headers = {k.lower(): v for k, v in headers.items()}
                    self.assertEqual("Basic c2VjcmV0", headers["authorization"])
                    self.assertEqual("9", headers["x-scope-orgid"])
                    self.assertEqual("application/x-protobuf", headers["content-type"])
            with self.subTest("no prompt, no secret"):
                for _, _, body in collector.requests:
                    self.assertNotIn(CANARY.encode(), body)
                    self.assertNotIn(b"secret-host", body)
                self.assertNotIn("c2VjcmV0", proxy.text())

    def check_span(self, span, told, entry):
        self.assertEqual("aws.bedrock", told["gen_ai.provider.name"])
        self.assertEqual("chat", told["gen_ai.operation.name"])
        self.assertEqual(MODEL, told["gen_ai.request.model"])
        self.assertEqual(f"chat {MODEL}", span.name)
        self.assertEqual(3, span.kind)
        self.assertEqual("127.0.0.1", told["server.address"])
        self.assertEqual("search", told["bedrock_meter.tenant"])
        self.assertEqual("web", told["bedrock_meter.application"])
        for name, column in {
            "bedrock_meter.operation": "operation", "bedrock_meter.outcome": "outcome",
            "bedrock_meter.usage_source": "usage_source",
            "bedrock_meter.price_status": "price_status", "cloud.region": "region",
            "http.response.status_code": "status", "aws.request_id": "aws_request_id",
        }.items():
            self.assertEqual(entry[column], told.get(name), name)
        ms = (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000
        self.assertEqual(entry["duration_ms"], ms)
        cost = decimal.Decimal(told["bedrock_meter.cost_usd"])
        self.assertEqual(ledger_cost(entry), cost)
        self.assertAlmostEqual(float(cost), told["bedrock_meter.cost_usd_float"])
        if entry["outcome"] == "throttled":
            self.assertEqual("ThrottlingException", told["error.type"])
            self.assertEqual(2, span.status.code)
        else:
            self.assertNotIn("error.type", told)
            self.assertEqual(0, span.status.code)

    def check_metrics(self, metrics, entries):
        tokens = metrics["gen_ai.client.token.usage"]
        for kind, of in (("input", prompt), ("output", lambda e: e["output_tokens"] or 0)):
            expected = sum(map(of, entries))
            self.assertGreater(expected, 0)
            self.assertEqual(expected, sum_of(tokens, **{"gen_ai.token.type": kind}))
        points = metrics["gen_ai.client.operation.duration"].histogram.data_points
        self.assertEqual(len(entries), sum(p.count for p in points))
        for point in points:
            self.assertEqual(len(point.explicit_bounds) + 1, len(point.bucket_counts))
            self.assertEqual(point.count, sum(point.bucket_counts))
        failed = [p for p in points if "error.type" in attributes(p.attributes)]
        self.assertEqual([1], [p.count for p in failed])
        first = metrics["gen_ai.client.operation.time_to_first_chunk"].histogram.data_points
        self.assertEqual(2, sum(p.count for p in first))
        cost = sum((ledger_cost(e) for e in entries), decimal.Decimal())
        self.assertAlmostEqual(float(cost), sum_of(metrics["bedrock_meter.cost"]), places=12)

    def test_a_collector_that_is_away_or_refuses_harms_no_call(self):
        with Workspace() as workspace, Collector() as collector:
            simulator = workspace.simulator()
            collector.status = 400
            proxy = workspace.proxy(simulator.url, telemetry__otlp=otlp(collector))
            self.assertEqual(200, call(proxy)[0])
            dropped = "bedrock_meter_otlp_dropped_spans_total"
            with self.subTest("what is refused is counted and not sent again"):
                wait_until(lambda: proxy.metric(dropped, reason="refused") == 1)
            collector.server.shutdown()
            collector.server.server_close()
            with self.subTest("calls go on while it is away"):
                self.assertEqual([200] * 20, [call(proxy)[0] for _ in range(20)])
                self.assertEqual(21, len(proxy.wait_for_entries(21, WAIT_SECONDS_MAX)))
            with self.subTest("what could not be sent is counted"):
                wait_until(lambda: proxy.metric(dropped, reason="unreachable") == 20)
            with self.subTest("the stop is bounded"):
                self.assertEqual(0, proxy.terminate())

    def test_a_slow_collector_holds_a_bounded_number_of_spans(self):
        with Workspace() as workspace, Collector() as collector:
            simulator = workspace.simulator()
            collector.hold = threading.Event()
            settings = otlp(collector, queue_max=5, timeout="1m", metrics=False)
            proxy = workspace.proxy(simulator.url, telemetry__otlp=settings)
            call(proxy)
            self.assertTrue(collector.held.wait(WAIT_SECONDS_MAX))
            self.assertEqual([200] * 12, [call(proxy)[0] for _ in range(12)])
            self.assertEqual(13, len(proxy.wait_for_entries(13, WAIT_SECONDS_MAX)))
            dropped = "bedrock_meter_otlp_dropped_spans_total"
            # One is on its way, five wait, the rest is gone.
            wait_until(lambda: proxy.metric(dropped, reason="queue_full") == 7)
            collector.hold.set()
            self.assertEqual(6, len(collector.wait_for_spans(6)))

    def test_tls_is_checked_against_the_private_authority(self):
        with Workspace() as workspace:
            pem = workspace.path / "collector.pem"
            made = subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                 "-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1",
                 "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", pem, "-out", "-"],
                capture_output=True, text=True, check=True,
            )
            certificate = workspace.path / "ca.pem"
            certificate.write_text(made.stdout)
            pem.write_text(pem.read_text() + made.stdout)
            simulator = workspace.simulator()
            with Collector(pem) as collector:
                settings = otlp(collector)
                settings["endpoint"] += "/base"
                proxy = workspace.proxy(simulator.url, telemetry__otlp=settings,
                                        upstream={"ca_file": str(certificate)})
                call(proxy)
                with self.subTest("trusted, and below the path of the endpoint"):
                    self.assertEqual(1, len(collector.wait_for_spans(1)))
                    self.assertEqual("/base/v1/traces", collector.requests[0][0])
                proxy.terminate()
                proxy = workspace.proxy(simulator.url, telemetry__otlp=settings)
                call(proxy)
                with self.subTest("a stranger gets nothing"):
                    name = "bedrock_meter_otlp_failed_requests_total"
                    wait_until(lambda: proxy.metric(name, signal="traces") >= 1)
                    self.assertEqual(1, len(collector.spans()))

    def test_nothing_leaves_until_it_is_configured(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url)
            self.assertEqual(200, call(proxy, traceparent=SAMPLED)[0])
            proxy.wait_for_entries(1, WAIT_SECONDS_MAX)
            self.assertEqual(0, proxy.terminate())
            kept = {path.name for path in workspace.path.iterdir()}
            self.assertEqual({"bedrock-meter.toml", "ledger", "served.ndjson"}, kept)


class AccessLog(unittest.TestCase):
    maxDiff = None

    def test_lines_are_the_entries_also_after_the_file_was_moved(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            log = workspace.path / "access.log"
            moved = workspace.path / "access.log.1"
            proxy = workspace.proxy(simulator.url, telemetry__access_log={"path": str(log)})
            for number in range(20):
                operation = ("converse", "converse-stream")[number % 2]
                call(proxy, operation, f"input={1000 + number},output={10 + number}", SAMPLED,
                     **{"x-bedrock-meter-user": "somebody"})
            call(proxy, script="status=429:ThrottlingException")
            abandon(proxy)
            proxy.wait_for_entries(22, WAIT_SECONDS_MAX)
            wait_until(lambda: len(lines(log)) == 22)
            log.rename(moved)
            wait_until(log.exists)
            for _ in range(5):
                call(proxy)
            entries = proxy.wait_for_entries(27, WAIT_SECONDS_MAX)
            proxy.terminate()
            with self.subTest("what comes after the move is in the new file"):
                self.assertEqual((22, 5), (len(lines(moved)), len(lines(log))))
            found = {line["call_id"]: line for line in lines(moved) + lines(log)}
            with self.subTest("one line for each entry"):
                self.assertEqual(sorted(entry_id(e) for e in entries), sorted(found))
            for entry in entries:
                with self.subTest("one line", outcome=entry["outcome"]):
                    self.check_line(found[entry_id(entry)], entry)
            with self.subTest("no prompt, no name, no address, no host"):
                text = moved.read_text() + log.read_text()
                for secret in (CANARY, "somebody", "127.0.0.1", "secret-host"):
                    self.assertNotIn(secret, text)
            with self.subTest("others cannot read it"):
                self.assertEqual(0, log.stat().st_mode & 0o007)

    def check_line(self, line, entry):
        for column in (
            "tenant", "application", "user", "session", "operation", "region", "outcome",
            "status", "error_class", "aws_request_id", "sdk_attempt", "request_bytes",
            "response_bytes", "duration_ms", "first_byte_ms", "usage_source", "usage_reason",
            "price_status",
        ):
            self.assertEqual(entry[column], line[column], column)
        for kind in ("input_tokens", "output_tokens"):
            self.assertEqual(entry[kind], line["usage"].get(kind), kind)
        self.assertEqual(ledger_cost(entry), decimal.Decimal(line["cost_usd"]))
        self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$")
        self.assertEqual(MODEL, line["model"])
        if entry["outcome"] == "success":
            self.assertEqual("Boto3/1.2.3", line["sdk"])
        self.assertIsNotNone(re.fullmatch("[0-9a-f]{32}", line["client"]))

    def test_the_identity_setting_rules_the_clients_address(self):
        for user, expected in (("store", "127.0.0.1"), ("drop", None)):
            with self.subTest(user), Workspace() as workspace:
                simulator = workspace.simulator()
                log = workspace.path / "access.log"
                proxy = workspace.proxy(simulator.url, identity={"user": user},
                                        telemetry__access_log={"path": str(log)})
                call(proxy)
                proxy.terminate()
                self.assertEqual([expected], [line["client"] for line in lines(log)])

    def test_standard_output_takes_the_lines_too(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, telemetry__access_log={"path": "stdout"})
            call(proxy)
            proxy.terminate()
            found = [json.loads(line) for line in proxy.text().splitlines() if line.startswith("{")]
            self.assertEqual(["success"], [line["outcome"] for line in found])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
