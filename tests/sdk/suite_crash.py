"""kill -9 under load: what reached Bedrock is in the ledger once, whatever moment it was. And
SIGTERM: open streams end first.

Every call carries an invocation id of its own, as SDKs send it. A settled entry joins the
simulator's bill by AWS's request id; an entry that was settled as an estimate after the crash never
saw that id and joins by the invocation id.
"""

import collections
import http.client
import json
import random
import threading
import time
import unittest
import urllib.parse
import uuid

from clients import CONVERSE
from harness import MODEL, Workspace

KILLS = 20
CLIENTS = 8
BODY = json.dumps({"messages": CONVERSE}).encode()
SHAPES = (
    (f"/model/{MODEL}/converse", "input=100,output=10"),
    (f"/model/{MODEL}/converse", "input=200,output=20,delay-head-ms=120"),
    (f"/model/{MODEL}/converse-stream", "input=300,output=30,frames=40,frame-delay-ms=5"),
    (f"/model/{MODEL}/converse-stream", "input=400,output=40,frames=10"),
)


class Load:
    """Clients that call without pause, and go on when the proxy is away."""

    def __init__(self, seed):
        self.url = None
        self.sent = collections.Counter()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed + n),), daemon=True)
            for n in range(CLIENTS)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, draw):
        while not self._stop.is_set():
            path, script = draw.choice(SHAPES)
            try:
                self.sent[self._call(self.url, path, script)] += 1
            except (OSError, http.client.HTTPException):
                self.sent["broken"] += 1
                time.sleep(0.02)

    @staticmethod
    def _call(url, path, script):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        headers = {
            "content-type": "application/json",
            "x-simulate": script,
            "amz-sdk-invocation-id": str(uuid.uuid4()),
        }
        try:
            connection.request("POST", path, BODY, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


class Shutdown(unittest.TestCase):
    def test_open_streams_end_whole_after_sigterm(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url)
            path, script = f"/model/{MODEL}/converse-stream", "input=9,output=8,frames=60"
            headers = {"content-type": "application/json",
                       "x-simulate": script + ",frame-delay-ms=40"}
            parts = urllib.parse.urlsplit(proxy.url)
            connections = [
                http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
                for _ in range(5)
            ]
            for connection in connections:
                connection.request("POST", path, BODY, headers)
            # The heads are in, so every call is under way; the streams last 2.4 s.
            answers = [connection.getresponse() for connection in connections]
            stopped = threading.Thread(target=proxy.terminate)
            stopped.start()
            bodies = [answer.read() for answer in answers]
            stopped.join()
            self.assertEqual(0, proxy.process.returncode, proxy.text())
            self.assertTrue(all(b"metadata" in body for body in bodies))
            self.assertEqual(
                [("success", "reported", 9, 8)] * 5,
                [(e["outcome"], e["usage_source"], e["input_tokens"], e["output_tokens"])
                 for e in proxy.entries()],
            )


class Crash(unittest.TestCase):
    def test_every_call_that_reached_bedrock_has_one_entry_after_twenty_kills(self):
        draw = random.Random(20)
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url)
            load = Load(seed=draw.random())
            load.url = proxy.url
            with load:
                for _ in range(KILLS):
                    time.sleep(draw.uniform(0.2, 0.9))
                    proxy.kill()
                    proxy = workspace.proxy(simulator.url)
                    load.url = proxy.url
                time.sleep(0.5)
            with self.subTest("it stops by itself at the end"):
                self.assertEqual(0, proxy.terminate())
            served, found = simulator.served(), proxy.entries()
            print(f"\n    {len(served)} calls reached the simulator, {len(found)} entries, "
                  f"answers {dict(load.sent)}")
            self.judge(served, found)

    def judge(self, served, found):
        by_request = collections.Counter(e["aws_request_id"] for e in found if e["aws_request_id"])
        by_invocation = collections.Counter(e["sdk_invocation_id"] for e in found)
        with self.subTest("no call has two entries"):
            self.assertEqual([], [key for key, n in by_invocation.items() if n != 1])
            self.assertEqual([], [key for key, n in by_request.items() if n != 1])
        with self.subTest("no call is missing"):
            missing = [
                row for row in served
                if not by_request[row["request_id"]] and not by_invocation[row["sdk_invocation_id"]]
            ]
            self.assertEqual([], missing)
        with self.subTest("each is settled or marked as an estimate"):
            sources = collections.Counter(e["usage_source"] for e in found)
            print(f"\n    {dict(sources)}")
            self.assertLessEqual(set(sources), {"reported", "estimated"})
            self.assertGreater(sources["reported"], 0)
            self.assertGreater(sources["estimated"], 0)
        with self.subTest("settled usage is what was served"):
            bill = {row["request_id"]: row["usage"] for row in served}
            for entry in found:
                if entry["usage_source"] == "reported":
                    usage = bill[entry["aws_request_id"]]
                    self.assertEqual(
                        (usage["input_tokens"], usage["output_tokens"]),
                        (entry["input_tokens"], entry["output_tokens"]),
                    )
