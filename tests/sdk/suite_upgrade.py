"""A rolling upgrade: two replicas of a program from this repository's own history on one PostgreSQL,
each replaced by the program of today under load, and one taken back.

`scripts/older-build` makes the older program; `tests/older.txt` names its commit and says why. Every
call has an invocation id; what was served, by the simulator's list, is held against the entries, and
what budgets say they have spent against the sum of the entries in the database.
"""

import collections
import decimal
import http.client
import json
import random
import threading
import time
import unittest
import urllib.parse
import urllib.request
import uuid

import replicas
from harness import BINARY, MODEL, run
from suite_budgets import call, counted
from suite_crash import BODY

OLDER = BINARY.with_name("bedrock-meter-older")
USD = decimal.Decimal
# How long a replica that ends waits for its streams, and how long they are: never near it, however
# busy the machine.
DRAIN_SECONDS = 25
SCRIPTS = (
    "input=100,output=10,frames=5",
    "input=200,output=20,frames=40,frame-delay-ms=25",
    "input=300,output=30,frames=40,frame-delay-ms=75",
)
ENDLESS = "input=300,output=30,frames=600,frame-delay-ms=100"
BUDGETS = {
    # Spent before the roll, and not touched while it goes on.
    "budgets__steady": {"tenant": "steady", "limit_usd": "5", "period": "month", "action": "block"},
    # Used up before the roll.
    "budgets__poor": {"tenant": "poor", "limit_usd": "0.01", "period": "month", "action": "block"},
    # Spent from all the time.
    "budgets__busy": {"tenant": "busy", "limit_usd": "500", "period": "month", "action": "block"},
}


def stream(url, script, invocation=None, begun=None):
    """One stream to its end, and what became of it. `begun` is set once its head is in."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    headers = {"content-type": "application/json", "x-simulate": script,
               "x-bedrock-meter-tenant": "busy",
               "amz-sdk-invocation-id": invocation or str(uuid.uuid4())}
    try:
        try:
            connection.request("POST", f"/model/{MODEL}/converse-stream", BODY, headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            return "elsewhere"
        if begun:
            begun.set()
        try:
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return "cut"
        return "whole" if answer.status == 200 and b"metadata" in body else answer.status
    finally:
        connection.close()


class Streams:
    """Clients that stream without pause, each call to one of the replicas that serve."""

    def __init__(self, proxies, count=10):
        self.proxies = list(proxies)
        self.ended = collections.Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(replicas.SECONDS_MAX)

    def _run(self):
        while not self._stop.is_set():
            ended = stream(random.choice(self.proxies).url, random.choice(SCRIPTS))
            self.ended[ended] += 1
            if ended == "elsewhere":
                time.sleep(0.02)


def spent(proxy):
    """What the replica's gauges say was spent, by budget. A gauge is a float."""
    return {
        name: round(USD(proxy.metric("bedrock_meter_budget_spent_usd", budget=name)), 12)
        for name in ("steady", "poor", "busy")
    }


def spent_exactly(proxy):
    """What the admin API says; the older program has no such page."""
    with urllib.request.urlopen(proxy.admin + "/api/v1/budgets", timeout=10) as answer:
        return {one["budget"]: USD(one["spent_usd"]) for one in json.load(answer)["budgets"]}


@unittest.skipUnless(OLDER.exists(), "no program of an older commit: the history at hand lacks it")
class Upgrade(replicas.OnPostgres):
    made_by = OLDER
    maxDiff = None

    def serve(self, name, binary, drain_seconds=DRAIN_SECONDS):
        return self.replica(name, BUDGETS | {"shutdown": {"drain_timeout": f"{drain_seconds}s"}}, binary)

    def replace(self, proxies, name, binary, load):
        """Ends a replica, as an orchestrator does, and starts another program in its place."""
        old = proxies[name]
        load.proxies = [proxy for proxy in proxies.values() if proxy is not old]
        with self.subTest(f"{name} ends what it has"):
            self.assertEqual(0, old.terminate(), old.text())
        least = self.sums()["busy"]
        proxies[name] = self.serve(name, binary)
        load.proxies = list(proxies.values())
        with self.subTest("it begins with what all have spent", replica=name, binary=binary.name):
            self.wait_until("no less", lambda: spent(proxies[name])["busy"] >= least)
            now = spent(proxies[name])["busy"]
            self.assertLessEqual(now, self.sums()["busy"])
        self.wait_for_more_entries(25)

    def sums(self):
        """What budgets count of the entries in the database, by tenant."""
        sums = collections.defaultdict(USD)
        for entry in self.entries():
            sums[entry["tenant"]] += counted(entry)
        return sums

    def ledger_program(self, binary, *command):
        code, printed = run("ledger", *command, binary=binary)
        self.assertEqual(0, code, printed)

    def refused(self, proxy):
        status, headers, _ = call(proxy, "poor", 50)
        return status, headers.get("x-bedrock-meter-error")

    def version(self):
        return self.server.sql("SELECT max(version) FROM bedrock_meter.schema")[0][0]

    def judge(self, load):
        """No call lost, none twice, none an estimate, no stream cut."""
        served = self.simulator.served()
        self.wait_until("every call is settled", lambda: len(self.sent()) >= len(served))
        found = self.sent()
        print(f"\n    {len(served)} calls served, {len(found)} entries, streams {dict(load.ended)}")
        with self.subTest("no stream is cut and no call refused"):
            self.assertLessEqual(set(load.ended), {"whole", "elsewhere"})
        with self.subTest("every call has one entry"):
            self.assertEqual(sorted(row["request_id"] for row in served),
                             sorted(entry["aws_request_id"] for entry in found))
        with self.subTest("none is an estimate"):
            self.assertEqual({"reported"}, {entry["usage_source"] for entry in found})
        with self.subTest("tokens are those that were served"):
            usage = {row["request_id"]: row["usage"] for row in served}
            for entry in found:
                row = usage[entry["aws_request_id"]]
                self.assertEqual((row["input_tokens"], row["output_tokens"]),
                                 (entry["input_tokens"], entry["output_tokens"]))

    def sent(self):
        """The entries of calls that were sent."""
        return [entry for entry in self.entries() if entry["outcome"] != "budget_refused"]

    def test_two_replicas_are_upgraded_one_after_another_under_load_and_one_goes_back(self):
        proxies = {name: self.serve(name, OLDER) for name in ("one", "two")}
        for _ in range(6):
            for proxy in proxies.values():
                self.assertEqual(200, call(proxy, "steady", 50, "input=1000,output=10")[0])
        while self.refused(proxies["one"])[0] == 200:
            pass
        self.wait_until("all of it is in the ledger", lambda: len(self.sent()) == len(self.simulator.served()))
        before = self.sums()
        with self.subTest("together the older ones have spent what the ledger says"):
            def together():
                of_each = [spent(proxy) for proxy in proxies.values()]
                return {name: sum(one[name] for one in of_each) for name in ("steady", "poor")}

            # Gauges are drawn now and then.
            self.wait_until("equal sums", lambda: together() == {n: before[n] for n in ("steady", "poor")})
        with Streams(proxies.values()) as load:
            self.wait_for_more_entries(25)
            # As docs/replicas.md says: the tables first, while the older ones write.
            made = self.version()
            self.ledger_program(BINARY, "migrate", "--config", self.config("owner"))
            print(f"\n    tables of version {made}, then {self.version()}")
            self.wait_for_more_entries(25)
            for name, binary in (("one", BINARY), ("two", BINARY), ("one", OLDER), ("one", BINARY)):
                self.replace(proxies, name, binary, load)
                with self.subTest("no budget has moved", replica=name, binary=binary.name):
                    now = spent(proxies[name])
                    self.assertEqual((before["steady"], before["poor"]), (now["steady"], now["poor"]))
                    self.assertEqual((400, "budget_exhausted"), self.refused(proxies[name]))
        self.judge(load)
        after = self.sums()
        with self.subTest("nobody has spent what is not his"):
            self.assertEqual((before["steady"], before["poor"]), (after["steady"], after["poor"]))
        with self.subTest("who starts now has spent what the ledger says"):
            three = self.serve("three", BINARY)
            self.assertEqual({name: after[name] for name in ("steady", "poor", "busy")}, spent_exactly(three))
        with self.subTest("a report of today's program counts what both have written"):
            code, text = run("report", "--config", self.config("reader"), "--by", "tenant",
                             "--from", "2000-01-01", "--to", "2100-01-01", "--format", "json")
            self.assertEqual(0, code, text)
            self.assertEqual(sum(after.values()), USD(json.loads(text)["total"]["cost_usd"]))
        self.assertEqual([0, 0, 0], [proxy.terminate() for proxy in (*proxies.values(), three)])
        with self.subTest("nothing is left in a spill, and nobody is taken for alive"):
            self.assertEqual([], [f for p in proxies.values() for f in (p.ledger / "spill").iterdir()])
            self.assertEqual(0, self.count("replicas"))

    def test_a_stream_longer_than_the_drain_is_not_cut_before_its_limit(self):
        seconds = 3
        old = self.serve("one", OLDER, seconds)
        begun, ended = threading.Event(), []

        def endless():
            how = stream(old.url, ENDLESS, begun=begun)
            ended.append((how, time.monotonic()))

        client = threading.Thread(target=endless)
        client.start()
        self.assertTrue(begun.wait(replicas.SECONDS_MAX))
        asked = time.monotonic()
        old.terminate()
        client.join(replicas.SECONDS_MAX)
        [(how, when)] = ended
        self.assertEqual("cut", how)
        self.assertGreaterEqual(when - asked, seconds)
        new = self.serve("one", BINARY)
        self.wait_until("it has its entry", lambda: self.count("entries") == 1)
        [entry] = self.entries()
        self.assertEqual("estimated", entry["usage_source"])
        with self.subTest("and counts as it is entered"):
            self.wait_until("equal sums", lambda: spent_exactly(new)["busy"] == counted(entry))
        self.assertEqual(0, new.terminate())
        self.assertEqual(1, self.count("entries"))

    def test_what_either_program_left_open_or_in_its_spill_the_other_brings_in(self):
        for older, newer in ((OLDER, BINARY), (BINARY, OLDER)):
            with self.subTest(f"{older.name} killed, {newer.name} started"):
                self.killed_and_followed(older, newer)

    def killed_and_followed(self, first, second):
        before = {entry["call_id"] for entry in self.entries()}
        killed = self.serve("one", first)
        self.server.stop()
        for _ in range(20):
            self.assertEqual(200, call(killed, "busy", 50)[0])
        begun = {str(uuid.uuid4()): threading.Event() for _ in range(5)}
        clients = [
            threading.Thread(target=stream, args=(killed.url, ENDLESS, *one), daemon=True)
            for one in begun.items()
        ]
        for client in clients:
            client.start()
        self.assertTrue(all(one.wait(replicas.SECONDS_MAX) for one in begun.values()))
        self.wait_until("the spill has them", lambda: killed.metric("bedrock_meter_spill_entries") == 20)
        killed.kill()
        for client in clients:
            client.join(replicas.SECONDS_MAX)
        self.server.start()
        follower = self.serve("one", second)
        self.wait_until("they are settled", lambda: self.count("entries") >= len(before) + 25)
        self.assertEqual(0, follower.terminate(), follower.text())
        found = [entry for entry in self.entries() if entry["call_id"] not in before]
        sources = collections.Counter((entry["usage_source"], entry["usage_reason"]) for entry in found)
        self.assertEqual({("reported", None): 20, ("estimated", "process_died"): 5}, dict(sources))
        estimated = {e["sdk_invocation_id"] for e in found if e["usage_source"] == "estimated"}
        self.assertEqual(set(begun), estimated)
