"""The JavaScript SDK sends GOAWAY right after each request: its streams must not be cut."""

import unittest

import clients
from harness import MODEL, Workspace

FRAMES = 200


class GoAway(unittest.TestCase):
    def test_two_streams_at_once_outlive_the_goaway_of_their_client(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url)
            script = f"frames={FRAMES},frame-delay-ms=10,input=11,output=22"
            case = {"url": proxy.url, "model": MODEL, "handler": "default", "parallel": True,
                    "headers": {"x-simulate": script}}
            answers = clients.node(
                "calls.mjs",
                {**case, "operation": "ConverseStream"},
                {**case, "operation": "InvokeModelWithResponseStream"},
            )
            for answer in answers:
                with self.subTest("stream"):
                    self.assertEqual((200, None, "h2"),
                                     (answer["status"], answer["error"], answer["protocol"]))
                    self.assertGreaterEqual(answer["result"], FRAMES)
            entries = proxy.wait_for_entries(2, 10)
            self.assertEqual(
                [(11, 22, "reported", "success")] * 2,
                [(e["input_tokens"], e["output_tokens"], e["usage_source"], e["outcome"])
                 for e in entries],
            )
