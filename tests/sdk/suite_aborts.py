"""Clients that leave: Bedrock charges for what they asked, so the ledger must know it.

Two hundred clients of four tenants leave in four ways, fifty each. Every call has its own token
counts, so that an entry cannot borrow another's, and its own invocation id, so that one that nobody
reported can still be told from the others.

Three ways leave once the proxy is known to have sent the call. boto3 leaves by the clock: on a busy
machine that can be before the proxy has sent it, and such a call was nobody's but the client's. So of
boto3's calls those count that the simulator read.
"""

import collections
import concurrent.futures
import json
import select
import socket
import time
import unittest
import urllib.request

import botocore.exceptions
import clients
from harness import MODEL, Workspace

EACH = 50
STREAM = f"/model/{MODEL}/converse-stream"
UNARY = f"/model/{MODEL}/converse"
BODY = json.dumps({"messages": clients.CONVERSE}).encode()
SETTLE_SECONDS_MAX = 120
# Ways whose clients know that their call was sent; the fourth does not.
SURE = ("before-the-head", "fin-in-mid-stream", "h2-reset")
TENANTS = (*SURE, "unary-timeout")


def usage(phase, number):
    """Input and output tokens of one call; no two calls share them."""
    return 10_000 * (phase + 1) + number, 100 * (phase + 1) + number


def invocation(phase, number):
    return f"{TENANTS[phase]}-{number}"


def marks(phase, number, words):
    """The headers that make a call what it is."""
    tokens_in, tokens_out = usage(phase, number)
    return {
        "x-simulate": f"input={tokens_in},output={tokens_out},{words}",
        "amz-sdk-invocation-id": invocation(phase, number),
    }


def open_call(url, path, marks):
    """Sends one whole request on a socket of its own."""
    connection = clients.connect(url)
    headers = {"Host": "localhost", "Content-Type": "application/json", **marks}
    connection.sendall(clients.request_bytes("POST", path, headers, BODY))
    return connection


def until(what, probe):
    """Waits until the probe says yes."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while not probe():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


def sent(proxy, tenant):
    """How many calls of the tenant the proxy has sent whose answer is not over."""
    with urllib.request.urlopen(proxy.admin + "/api/v1/live", timeout=10) as answer:
        calls = json.load(answer)["calls"]
    return sum(call["tenant"] == tenant for call in calls)


class Leave:
    """The four ways to leave; each makes `EACH` calls for the tenant of its name."""

    def __init__(self, proxy, seconds):
        self.proxy = proxy
        # How long streams last and heads are held back.
        self.frames = f"frames={20 * seconds},frame-delay-ms=50"
        self.held_back = f"delay-head-ms={1000 * seconds}"
        # Half-closed connections stay referenced: collected, they would be closed.
        self.half_closed = []
        self.boto3_clients = [self.boto3_client(number) for number in range(EACH)]

    def before_the_head(self):
        """The request is out, no byte of an answer is in, and the client closes."""
        open_calls = [
            open_call(self.proxy.url, "/tenant/before-the-head" + UNARY, marks(0, n, self.held_back))
            for n in range(EACH)
        ]
        until("the calls were sent", lambda: sent(self.proxy, "before-the-head") == EACH)
        for connection in open_calls:
            self.assert_silent(connection)
            connection.close()

    @staticmethod
    def assert_silent(connection):
        assert not select.select([connection], [], [], 0)[0], "the head came too early"

    def fin_in_mid_stream(self):
        """Some frames have arrived; half of the clients close, half only stop sending."""
        open_calls = [
            open_call(self.proxy.url, "/tenant/fin-in-mid-stream" + STREAM, marks(1, n, self.frames))
            for n in range(EACH)
        ]
        for connection in open_calls:
            received = b""
            while b"contentBlockDelta" not in received:
                chunk = connection.recv(65536)
                assert chunk, f"the answer ended early: {received!r}"
                received += chunk
        for number, connection in enumerate(open_calls):
            if number % 2:
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.close()
        self.half_closed = open_calls

    def h2_reset(self):
        """All on one HTTP/2 connection, each reset by itself in mid-stream."""
        answers = clients.node("resets.mjs", *(
            {
                "url": self.proxy.url,
                "path": "/tenant/h2-reset" + STREAM,
                "headers": {"content-type": "application/json", **marks(2, n, self.frames)},
                "body": BODY.decode(),
                "reset_after_bytes": 1000,
            }
            for n in range(EACH)
        ))
        assert {200} == {answer["status"] for answer in answers}, answers

    def boto3_client(self, number):
        """A client whose calls are scripted. Making one takes long: not while drains are open."""
        client = clients.boto3_client(
            self.proxy.url + "/tenant/unary-timeout",
            read_timeout=3,
            retries={"total_max_attempts": 1},
        )

        def add_marks(request, **_):
            for name, value in marks(3, number, self.held_back).items():
                request.headers[name] = value

        client.meta.events.register("before-send.bedrock-runtime", add_marks)
        return client

    def unary_timeout(self):
        """boto3 waits less long than the model takes, and does not ask again."""

        def call(client):
            try:
                client.converse(modelId=MODEL, messages=clients.CONVERSE)
            except botocore.exceptions.ReadTimeoutError:
                return
            raise AssertionError("the answer came in time")

        with concurrent.futures.ThreadPoolExecutor(EACH) as pool:
            list(pool.map(call, self.boto3_clients))

    def all_at_once(self):
        ways = (self.before_the_head, self.fin_in_mid_stream, self.h2_reset, self.unary_timeout)
        with concurrent.futures.ThreadPoolExecutor(len(ways)) as pool:
            for left in [pool.submit(way) for way in ways]:
                left.result()


class Aborts(unittest.TestCase):
    maxDiff = None

    def leave(self, workspace, seconds, **changes):
        """Two hundred calls that were left: what the simulator served and the ledger holds.

        No answer may end before the last client left: `seconds` is how long they take.
        """
        simulator = workspace.simulator()
        proxy = workspace.proxy(simulator.url, **changes)
        clients_of_the_test = Leave(proxy, seconds)
        clients_of_the_test.all_at_once()
        # What comes late has no client any more: it is not sent.
        for gauge in ("in_flight_requests", "open_drains"):
            until(f"no {gauge}", lambda: proxy.metric(f"bedrock_meter_{gauge}") == 0)
        self.assertEqual(0, proxy.terminate(), proxy.text())
        found, served = proxy.entries(), simulator.served()
        print(f"\n    {len(served)} calls served, {len(found)} entries")
        with self.subTest("no call has two entries"):
            invocations = collections.Counter(entry["sdk_invocation_id"] for entry in found)
            self.assertEqual([], [key for key, n in invocations.items() if n > 1])
        with self.subTest("every call that was served has its entry"):
            self.assertEqual(
                set(), {row["sdk_invocation_id"] for row in served} - set(invocations)
            )
        with self.subTest("so has every call that was surely sent"):
            surely = {invocation(p, n) for p in range(len(SURE)) for n in range(EACH)}
            self.assertEqual(set(), surely - set(invocations))
        with self.subTest("and boto3's were there"):
            self.assertIn("unary-timeout", {entry["tenant"] for entry in found})
        with self.subTest("the clients are said to have left"):
            self.assertEqual({"client_left"}, {entry["outcome"] for entry in found})
        return served, found

    def test_every_call_that_was_left_has_its_exact_usage(self):
        with Workspace() as workspace:
            served, found = self.leave(workspace, 8)
            with self.subTest("usage was reported"):
                self.assertEqual({"reported"}, {entry["usage_source"] for entry in found})
            with self.subTest("usage is what was served, joined by request id"):
                bill = {row["request_id"]: row for row in served}
                for entry in found:
                    row = bill.pop(entry["aws_request_id"])["usage"]
                    self.assertEqual(
                        (row["input_tokens"], row["output_tokens"]),
                        (entry["input_tokens"], entry["output_tokens"]),
                    )
                self.assertEqual({}, bill)
            with self.subTest("usage is what was asked for"):
                asked = {invocation(p, n): usage(p, n) for p in range(4) for n in range(EACH)}
                self.assertEqual(
                    {e["sdk_invocation_id"]: asked[e["sdk_invocation_id"]] for e in found},
                    {e["sdk_invocation_id"]: (e["input_tokens"], e["output_tokens"]) for e in found},
                )

    def test_beyond_the_cap_the_rest_is_estimated(self):
        with Workspace() as workspace:
            # Longer: a drain that ended would free its place for a client that leaves late.
            served, found = self.leave(workspace, 15, drain={"calls_max": 50})
            sources = collections.Counter(e["usage_source"] for e in found)
            with self.subTest("each is reported or estimated"):
                self.assertEqual({"reported", "estimated"}, set(sources))
            # A call that is not drained may be given up before Bedrock reads it: its entry is
            # there because it may have been read. What Bedrock reported, it served.
            with self.subTest("what was reported was served"):
                bill = {row["request_id"] for row in served}
                reported = {e["aws_request_id"] for e in found if e["usage_source"] == "reported"}
                self.assertLessEqual(reported, bill)
            with self.subTest("no more than the cap were read on at once"):
                self.assertGreater(sources["reported"], 0)
                self.assertLessEqual(sources["reported"], 50)
            with self.subTest("no tenant took more than its quarter"):
                per_tenant = collections.Counter(
                    e["tenant"] for e in found if e["usage_source"] == "reported"
                )
                self.assertLessEqual(max(per_tenant.values(), default=0), -(-50 // 4))
            with self.subTest("an estimate counts what went by"):
                guesses = [e for e in found if e["usage_source"] == "estimated"]
                self.assertTrue(all(e["input_tokens"] for e in guesses))
                self.assertTrue(all(e["output_tokens"] for e in guesses if e["response_bytes"]))
                self.assertEqual({"not_drained"}, {e["usage_reason"] for e in guesses})
