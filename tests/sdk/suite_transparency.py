"""A call through the proxy and a direct one look the same to boto3 and the JavaScript SDK.

Two simulators with the same seed serve the same calls in the same order: one directly, without
looking at signatures, and one behind the proxy, which verifies what the proxy signed.
"""

import json
import os
import subprocess
import unittest
import unittest.mock

import clients
from harness import MODEL, PROFILE, Workspace

# What differs between two equal calls to Bedrock, and what belongs to one connection.
VOLATILE = {"date", "x-amzn-requestid"}
OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}
ADDED_BY_THE_PROXY = {"x-bedrock-meter-call-id"}

BASE_PATHS = ("", "/tenant/research/application/search/region/us-east-1")
BODY_BYTES_MAX = 25_000_000


def comparable(seen):
    """What must be equal, the listed headers aside."""
    left_out = VOLATILE | OF_THE_CONNECTION | ADDED_BY_THE_PROXY
    headers = {k: v for k, v in seen.get("headers", {}).items() if k not in left_out}
    return {**seen, "headers": headers}


class Transparency(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.direct = cls.workspace.simulator(verify=False, name="direct")
        cls.behind = cls.workspace.simulator(verify=True, name="behind")
        cls.proxy = cls.workspace.proxy(cls.behind.url)

    def hold_against(self, direct, proxied):
        self.assertEqual(comparable(direct), comparable(proxied))
        self.assertIn("x-bedrock-meter-call-id", proxied["headers"])

    def boto3_pair(self, operation, model, headers, base="", body=None):
        return (
            clients.boto3_call(self.direct.url, operation, model, headers, body),
            clients.boto3_call(self.proxy.url + base, operation, model, headers, body),
        )

    def node_pairs(self, cases):
        """Each case direct and through the proxy, in the same order, one client process each."""
        direct = [{**case, "url": self.direct.url} for case in cases]
        proxied = [{**case, "url": self.proxy.url + case.get("base", "")} for case in cases]
        return zip(
            cases,
            clients.node("calls.mjs", *direct),
            clients.node("calls.mjs", *proxied),
            strict=True,
        )

    def rows(self):
        """Four operations x {id with a colon, ARN} x {without, with a base path}."""
        for base in BASE_PATHS:
            for model in (MODEL, PROFILE):
                for number, operation in enumerate(clients.OPERATIONS):
                    script = f"input={100 + number},output={20 + number},frames=12"
                    yield base, model, operation, {"x-simulate": script}

    def test_boto3_sees_no_difference(self):
        for base, model, operation, headers in self.rows():
            with self.subTest(operation=operation, model=model, base=base):
                direct, proxied = self.boto3_pair(operation, model, headers, base)
                self.assertEqual((200, None), (direct["status"], direct["error"]))
                self.hold_against(direct, proxied)

    def test_javascript_sees_no_difference_over_either_protocol(self):
        cases = [
            {"base": b, "model": m, "operation": o, "headers": h, "handler": handler}
            for handler in ("default", "http1")
            for b, m, o, h in self.rows()
        ]
        for case, direct, proxied in self.node_pairs(cases):
            with self.subTest(**case):
                self.assertEqual((200, None), (direct["status"], direct["error"]))
                expected = "h2" if case["handler"] == "default" else "http/1.1"
                self.assertEqual(expected, proxied["protocol"])
                self.hold_against(direct, proxied)

    # Status, the class both SDKs raise, attempts each makes (their own retry rules).
    ERRORS = (
        (429, "ThrottlingException", 3),
        (400, "ValidationException", 1),
        (404, "ResourceNotFoundException", 1),
        (500, "InternalServerException", 3),
    )

    def test_boto3_raises_the_same_errors_after_as_many_attempts(self):
        for status, name, attempts in self.ERRORS:
            for operation in ("Converse", "InvokeModelWithResponseStream"):
                with self.subTest(status=status, operation=operation):
                    headers = {"x-simulate": f"status={status}"}
                    direct, proxied = self.boto3_pair(operation, MODEL, headers)
                    self.assertEqual((name, attempts), (proxied["error"], proxied["attempts"]))
                    self.hold_against(direct, proxied)

    def test_javascript_raises_the_same_errors_after_as_many_attempts(self):
        expected = {status: (name, attempts) for status, name, attempts in self.ERRORS}
        cases = [
            {"model": MODEL, "operation": operation, "handler": "default", "status": status,
             "headers": {"x-simulate": f"status={status}"}}
            for status in expected
            for operation in ("Converse", "InvokeModelWithResponseStream")
        ]
        for case, direct, proxied in self.node_pairs(cases):
            with self.subTest(status=case["status"], operation=case["operation"]):
                self.assertEqual(
                    expected[case["status"]], (proxied["error"], proxied["attempts"])
                )
                self.hold_against(direct, proxied)

    def test_a_failure_inside_a_stream_reaches_boto3(self):
        headers = {"x-simulate": "frames=12,exception-after=4"}
        direct, proxied = self.boto3_pair("ConverseStream", MODEL, headers)
        self.assertEqual("EventStreamError", direct["error"])
        self.hold_against(direct, proxied)

    def test_the_largest_body_passes_and_one_byte_more_is_refused(self):
        headers = {"x-simulate": "input=7,output=3"}
        # White space after JSON is JSON still.
        largest = json.dumps(clients.CLAUDE).encode().ljust(BODY_BYTES_MAX)
        with self.subTest("boto3, 25,000,000 bytes"):
            direct, proxied = self.boto3_pair("InvokeModel", MODEL, headers, body=largest)
            self.assertEqual(200, direct["status"])
            self.hold_against(direct, proxied)
        with self.subTest("boto3, 25,000,001 bytes"):
            refused = clients.boto3_call(
                self.proxy.url, "InvokeModel", MODEL, headers, largest + b" "
            )
            self.assertEqual((400, "ValidationException"), (refused["status"], refused["error"]))
            self.assertIn("bedrock-meter:", refused["message"])
        case = {"model": MODEL, "operation": "InvokeModel", "headers": headers}
        for handler in ("default", "http1"):
            cases = [{**case, "handler": handler, "body_bytes": BODY_BYTES_MAX}]
            for _, direct, proxied in self.node_pairs(cases):
                with self.subTest(f"JavaScript {handler}, 25,000,000 bytes"):
                    self.assertEqual(200, direct["status"])
                    self.hold_against(direct, proxied)
            with self.subTest(f"JavaScript {handler}, 25,000,001 bytes"):
                (refused,) = clients.node(
                    "calls.mjs", {**cases[0], "url": self.proxy.url, "body_bytes": BODY_BYTES_MAX + 1}
                )
                self.assertEqual(
                    (400, "ValidationException"), (refused["status"], refused["error"])
                )


class OverTls(unittest.TestCase):
    """The same listener with a certificate: HTTP/1.1 for boto3, HTTP/2 by ALPN for JavaScript."""

    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.certificate = cls.workspace.path / "certificate.pem"
        key = cls.workspace.path / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
             "-keyout", key, "-out", cls.certificate],
            check=True, capture_output=True,
        )
        cls.simulator = cls.workspace.simulator()
        files = {"certificate_file": str(cls.certificate), "key_file": str(key)}
        cls.proxy = cls.workspace.proxy(cls.simulator.url, listener__tls=files)

    def test_boto3_and_javascript_call_over_tls(self):
        script = {"x-simulate": "input=5,output=6,frames=20"}
        for operation in clients.OPERATIONS:
            with self.subTest("boto3", operation=operation):
                trust = {"AWS_CA_BUNDLE": str(self.certificate)}
                with unittest.mock.patch.dict(os.environ, trust):
                    seen = clients.boto3_call(self.proxy.url, operation, MODEL, script)
                self.assertEqual((200, None), (seen["status"], seen["error"]))
        cases = [
            {"url": self.proxy.url, "operation": operation, "model": MODEL, "headers": script,
             "handler": handler}
            for handler in ("default", "http1")
            for operation in clients.OPERATIONS
        ]
        trust = {"NODE_EXTRA_CA_CERTS": str(self.certificate)}
        answers = clients.node("calls.mjs", *cases, environment=trust)
        for case, seen in zip(cases, answers, strict=True):
            with self.subTest("JavaScript", **case):
                self.assertEqual((200, None), (seen["status"], seen.get("error")))
        with self.subTest("every call is in the ledger"):
            calls = 3 * len(clients.OPERATIONS)
            found = self.proxy.wait_for_entries(calls, 5)
            self.assertEqual([(5, 6)] * calls,
                             [(e["input_tokens"], e["output_tokens"]) for e in found])
