"""The calls that Claude Code and the Anthropic SDKs make, as they were observed.

Claude Code signs and sends `Host` without the port; the Anthropic SDKs leave the colon of a model
id as it is in the path.
"""

import json
import unittest
import urllib.parse

import clients
from harness import MODEL, Workspace

SESSION_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SMALL_MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
STREAM_BODY_BYTES = 85_000


class ClaudeCode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.simulator = cls.workspace.simulator()
        cls.proxy = cls.workspace.proxy(cls.simulator.url)

    def call(self, method, path, body=b"", script=None):
        path = "/tenant/claude-code" + path
        host = urllib.parse.urlsplit(self.proxy.url).hostname
        headers = {"user-agent": "claude-cli/2.1.0 (external, cli)"}
        if body:
            headers |= {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        if script:
            headers |= {"x-simulate": script}
        headers = clients.signed(method, self.proxy.url + path, headers, body, host=host)
        return clients.exchange(self.proxy.url, method, path, headers, body)

    def invoke(self, model, verb, message, script, max_tokens=1):
        body = {**clients.CLAUDE, "max_tokens": max_tokens,
                "messages": [{"role": "user", "content": message}]}
        return self.call("POST", f"/model/{model}/{verb}", json.dumps(body).encode(), script)

    def test_the_session_start_of_claude_code_passes_and_is_metered(self):
        status, headers, body = self.call("GET", "/inference-profiles?type=SYSTEM_DEFINED")
        self.assertEqual((200, "application/json"), (status, headers["content-type"]))
        self.assertIn("inferenceProfileSummaries", json.loads(body))

        for number, model in enumerate((SESSION_MODEL, SMALL_MODEL)):
            status, _, body = self.invoke(model, "invoke", "test", f"input={8 + number},output=1")
            self.assertEqual(200, status, body)
            self.assertEqual(1, json.loads(body)["usage"]["output_tokens"])

        status, headers, body = self.invoke(
            SESSION_MODEL, "invoke-with-response-stream", "x" * STREAM_BODY_BYTES,
            "input=21000,output=180,frames=60", max_tokens=32_000,
        )
        self.assertEqual(200, status)
        self.assertEqual("application/vnd.amazon.eventstream", headers["content-type"])

        entries = self.proxy.wait_for_entries(4, 5, tenant="claude-code")
        self.assertEqual(
            [("InvokeModel", 8, 1), ("InvokeModel", 9, 1),
             ("InvokeModelWithResponseStream", 21000, 180)],
            sorted(
                (e["operation"], e["input_tokens"], e["output_tokens"])
                for e in entries
                if e["operation"] != "ListInferenceProfiles"
            ),
        )
        self.assertEqual({"reported"}, {e["usage_source"] for e in entries})

    def test_the_anthropic_sdk_reads_its_usage(self):
        usages = clients.node("anthropic.mjs", {
            "url": self.proxy.url + "/tenant/anthropic-sdk",
            "model": MODEL,
            "headers": {"x-simulate": "input=77,output=33,frames=10"},
        })
        self.assertEqual(
            [(77, 33)] * 2, [(u["input_tokens"], u["output_tokens"]) for u in usages]
        )
        mine = self.proxy.wait_for_entries(2, 5, tenant="anthropic-sdk")
        self.assertEqual([(77, 33)] * 2, [(e["input_tokens"], e["output_tokens"]) for e in mine])
