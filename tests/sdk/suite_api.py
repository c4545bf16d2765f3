"""The admin API against its own OpenAPI document: every path is served, every answer fits."""

import http.client
import json
import unittest
import urllib.error
import urllib.request

import harness
import jsonschema
from jsonschema import Draft202012Validator

BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).encode()


class Api(unittest.TestCase):
    def setUp(self):
        self.space = self.enterContext(harness.Workspace())
        self.simulator = self.space.simulator()
        self.proxy = self.space.proxy(self.simulator.url)
        self.document = json.loads(self.ask("/api/v1/openapi.json")[1])

    def ask(self, path):
        """Status and body."""
        try:
            with urllib.request.urlopen(self.proxy.admin + path, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def fits(self, path, status, body):
        """Holds a JSON body against what the document says of that path and status."""
        answers = self.document["paths"][path]["get"]["responses"]
        self.assertIn(str(status), answers, f"{path} answered {status}: {body[:200]}")
        schema = answers[str(status)]["content"]["application/json"]["schema"]
        whole = {**schema, "components": self.document["components"]}
        jsonschema.validate(json.loads(body), whole, cls=Draft202012Validator)

    def call(self, operation="converse", **headers):
        """One call, its head read and its body not yet."""
        connection = http.client.HTTPConnection(self.proxy.url.removeprefix("http://"), timeout=30)
        self.addCleanup(connection.close)
        path = f"/tenant/research/application/chat/model/{harness.MODEL}/{operation}"
        connection.request("POST", path, BODY, {"content-type": "application/json", **headers})
        return connection.getresponse()

    def test_the_document_is_openapi_with_valid_schemas(self):
        self.assertTrue(self.document["openapi"].startswith("3.1."))
        for name, schema in self.document["components"]["schemas"].items():
            with self.subTest(name):
                Draft202012Validator.check_schema(schema)
        operations = [path["get"]["operationId"] for path in self.document["paths"].values()]
        self.assertEqual(len(operations), len(set(operations)))

    def test_every_answer_fits_the_document(self):
        answer = self.call()
        answer.read()
        call_id = answer.headers["x-bedrock-meter-call-id"]
        self.proxy.wait_for_entries(1, 30)
        questions = {
            "/api/v1/report": ["", "?by=tenant,day", "?by=moon", "?from=yesterday", "?from=2026-01-01&to=2026-02-01"],
            "/api/v1/calls/{call_id}": [call_id, "x", "0190a5a0-0000-7000-8000-000000000000"],
            "/api/v1/live": [""],
            "/api/v1/openapi.json": [""],
            "/healthz": [""],
            "/readyz": [""],
        }
        self.assertEqual({*questions, "/metrics"}, set(self.document["paths"]))
        for path, endings in questions.items():
            for ending in endings:
                with self.subTest(path=path, ending=ending):
                    self.fits(path, *self.ask(path.replace("{call_id}", "") + ending))
        self.assertEqual(self.ask("/metrics")[0], 200)

    def test_an_open_call_is_listed_until_it_ends(self):
        answer = self.call("converse-stream", **{"x-simulate": "frames=100,frame-delay-ms=50"})
        body = self.ask("/api/v1/live")[1]
        self.fits("/api/v1/live", 200, body)
        live = json.loads(body)
        self.assertEqual(live["open"], 1)
        [call] = live["calls"]
        seen = [call[name] for name in ("call_id", "tenant", "application", "model", "operation")]
        call_id = answer.headers["x-bedrock-meter-call-id"]
        self.assertEqual(seen, [call_id, "research", "chat", harness.MODEL, "ConverseStream"])
        answer.read()
        self.proxy.wait_for_entries(1, 30)
        self.assertEqual(json.loads(self.ask("/api/v1/live")[1]), {"open": 0, "calls": []})


if __name__ == "__main__":
    import sys

    import run

    sys.argv[1:] = ["api"]
    sys.exit(run.main())
