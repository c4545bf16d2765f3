"""The worst minutes of the ledger's store, under load: killed, locked, full, flickering, back again.

After each: no call that the simulator served is missing, none is there twice, and where usage was
reported, tokens and dollars are those of the simulator's own list and of an independent bill.

`BEDROCK_METER_KILLS` says how often the process is killed (20; `scripts/soak kills` does 200), and
`BEDROCK_METER_SEED` draws other moments.
"""

import collections
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request
from fractions import Fraction

from harness import ROOT, Workspace, run
from suite_crash import Load

sys.path.insert(0, str(ROOT / "tests"))
import bill

KILLS = int(os.environ.get("BEDROCK_METER_KILLS", "20"))
SEED = int(os.environ.get("BEDROCK_METER_SEED", "5"))
SECONDS_MAX = 60
FACTS = bill.Facts(json.loads((ROOT / "config/prices/facts.json").read_text()))


def until(what, probe):
    """The first true answer of the probe."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


def waiting(proxy):
    return int(proxy.metric("bedrock_meter_spill_entries"))


def readiness(proxy):
    """The status of /readyz and what it says of the ledger."""
    try:
        with urllib.request.urlopen(proxy.admin + "/readyz", timeout=10) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        status, body = answer.code, answer.read()
    checks = {check["name"]: check["detail"] for check in json.loads(body)["checks"]}
    return status, checks["ledger"]


@contextlib.contextmanager
def locked(proxy):
    """The SQLite file locked as another program would."""
    other = sqlite3.connect(proxy.ledger / "ledger.sqlite3", timeout=30, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of its own for that folder."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder],
        capture_output=True, text=True, check=False,
    )
    if mounted.returncode:
        raise unittest.SkipTest(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def full(folder):
    """No byte is free on the disk of that folder."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
    try:
        yield
    finally:
        ballast.unlink()


def dollars(entry):
    return Fraction(entry["cost_microusd"], 10**6) + Fraction(entry["cost_femtousd"], 10**15)


class Store(unittest.TestCase):
    def setUp(self):
        self.workspace = self.enterContext(Workspace())
        self.simulator = self.workspace.simulator()

    def start(self, **ledger):
        # A commit for every few calls: more moments in which something can go wrong.
        return self.workspace.proxy(self.simulator.url, ledger={"commit_interval": "5ms", **ledger})

    @contextlib.contextmanager
    def load(self, proxy, seed=1):
        load = Load(seed=seed)
        load.url = proxy.url
        with load:
            yield load

    def end(self, proxy, load):
        """Stops the proxy and judges what is in its ledger."""
        with self.subTest("it stops by itself"):
            self.assertEqual(0, proxy.terminate())
        with self.subTest("nothing is left in the spill"):
            self.assertEqual([], list((proxy.ledger / "spill").iterdir()))
        with self.subTest("sums are those of the entries"):
            code, said = run("ledger", "verify", "--ledger", proxy.ledger)
            self.assertEqual(0, code, said)
        served, found = self.simulator.served(), proxy.entries()
        sources = collections.Counter(entry["usage_source"] for entry in found)
        print(f"\n    {len(served)} calls served, {len(found)} entries {dict(sources)}, "
              f"answers {dict(load.sent)}")
        self.judge(served, found)
        return found

    def judge(self, served, found):
        requests = collections.Counter(e["aws_request_id"] for e in found if e["aws_request_id"])
        invocations = collections.Counter(e["sdk_invocation_id"] for e in found)
        with self.subTest("none twice"):
            self.assertEqual([], [i for c in (requests, invocations) for i, n in c.items() if n > 1])
        with self.subTest("none missing"):
            self.assertEqual([], [
                row for row in served
                if not requests[row["request_id"]] and not invocations[row["sdk_invocation_id"]]
            ])
        rows = {row["request_id"]: row for row in served}
        reported = [entry for entry in found if entry["usage_source"] == "reported"]
        with self.subTest("tokens are those that were served"):
            self.assertGreater(len(reported), 0)
            for entry in reported:
                usage = rows[entry["aws_request_id"]]["usage"]
                self.assertEqual(
                    (usage["input_tokens"], usage["output_tokens"]),
                    (entry["input_tokens"], entry["output_tokens"]),
                )
        with self.subTest("dollars are those of the bill"):
            billed = sum(FACTS.charge(rows[entry["aws_request_id"]]) for entry in reported)
            self.assertEqual(billed, sum(map(dollars, reported)))

    def test_killed_at_random_moments_also_while_the_file_is_locked(self):
        print(f"\n    {KILLS} kills, seed {SEED}")
        draw = random.Random(SEED)
        proxy = self.start()
        with self.load(proxy, draw.random()) as load:
            for kill in range(KILLS):
                time.sleep(draw.uniform(0.1, 0.6))
                with locked(proxy) if kill % 3 == 0 else contextlib.nullcontext():
                    if kill % 3 == 0:
                        until("the spill", lambda: waiting(proxy) > 0)
                        time.sleep(draw.uniform(0.0, 0.5))
                    proxy.kill()
                if kill % 4 == 0:
                    # A start that is itself killed, maybe in the middle of bringing in the spill.
                    impatient = subprocess.Popen(
                        proxy.process.args, stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    )
                    time.sleep(draw.uniform(0.0, 0.3))
                    impatient.kill()
                    impatient.wait()
                proxy = self.start()
                load.url = proxy.url
            time.sleep(0.5)
        found = self.end(proxy, load)
        with self.subTest("what was in the spill was settled"):
            sources = collections.Counter(entry["usage_source"] for entry in found)
            self.assertGreater(sources["reported"], sources["estimated"])

    def test_locked_for_seconds_no_call_fails_and_all_of_it_comes_in(self):
        proxy = self.start()
        with self.load(proxy) as load:
            until("entries", lambda: len(proxy.entries()) > 20)
            with locked(proxy):
                most = until("the spill", lambda: waiting(proxy))
                for _ in range(8):
                    time.sleep(1)
                    status, words = readiness(proxy)
                    self.assertEqual(200, status, words)
                    self.assertIn("wait in the spill", words)
                    most = max(most, waiting(proxy))
                kept = len(proxy.entries())
            until("entries that waited", lambda: len(proxy.entries()) > kept)
        # While calls go on, others can queue behind what comes in: the end is waited for without.
        until("an empty spill", lambda: waiting(proxy) == 0)
        until("entries", lambda: len(proxy.entries()) >= kept + most)
        with self.subTest("ready, and says so"):
            self.assertEqual((200, "taking entries"), readiness(proxy))
        with self.subTest("each entry was counted once"):
            names = ("bedrock_meter_requests_total", "bedrock_meter_ledger_entries_total")
            until("equal sums", lambda: {proxy.metric(name) for name in names}
                  == {len(proxy.entries())})
        print(f"\n    {most} calls waited at most")
        with self.subTest("no call failed"):
            self.assertEqual({200}, set(load.sent))
        self.end(proxy, load)

    def test_a_store_that_comes_and_goes(self):
        draw = random.Random(SEED)
        proxy = self.start()
        with self.load(proxy) as load:
            for _ in range(8):
                with locked(proxy):
                    time.sleep(draw.uniform(0.3, 1.2))
                time.sleep(draw.uniform(0.0, 0.3))
        with self.subTest("no call failed"):
            self.assertEqual({200}, set(load.sent))
        self.end(proxy, load)

    def test_when_the_spill_is_full_too_new_calls_are_refused_and_streams_go_on(self):
        proxy = self.start(spill_bytes_max=65536)
        with self.load(proxy) as load:
            with locked(proxy):
                until("the spill", lambda: waiting(proxy))
                until("a refusal", lambda: load.sent[503])
                self.assertEqual(503, readiness(proxy)[0])
                self.assertIn("neither", readiness(proxy)[1])
            until("an empty spill", lambda: waiting(proxy) == 0)
            until("readiness", lambda: readiness(proxy)[0] == 200)
            before = load.sent[200]
            until("calls again", lambda: load.sent[200] > before + 10)
        with self.subTest("refused in Bedrock's words, never broken"):
            self.assertLessEqual(set(load.sent), {200, 503})
            self.assertGreater(proxy.metric("bedrock_meter_refused_total", reason="ledger_unavailable"), 0)
        self.end(proxy, load)

    def test_the_disk_of_the_database_is_full_and_the_spill_has_room(self):
        ledger = self.workspace.path / "ledger"
        with small_disk(ledger, 4):
            for name in ("spill", "open-calls"):
                elsewhere = self.workspace.path / name
                elsewhere.mkdir()
                (ledger / name).symlink_to(elsewhere)
            proxy = self.start()
            with self.load(proxy) as load:
                until("entries", lambda: len(proxy.entries()) > 20)
                with full(ledger):
                    most = until("the spill", lambda: waiting(proxy))
                    time.sleep(3)
                    most = max(most, waiting(proxy))
                    self.assertEqual(200, readiness(proxy)[0])
                until("an empty spill", lambda: waiting(proxy) == 0)
            print(f"\n    {most} calls waited at most")
            with self.subTest("no call failed"):
                self.assertEqual({200}, set(load.sent))
            self.end(proxy, load)

    def test_the_whole_disk_is_full_nothing_is_served_unrecorded_and_streams_end(self):
        ledger = self.workspace.path / "ledger"
        with small_disk(ledger, 4):
            proxy = self.start()
            with self.load(proxy) as load:
                until("entries", lambda: len(proxy.entries()) > 20)
                with full(ledger):
                    until("a refusal", lambda: load.sent[503])
                    time.sleep(2)
                until("an empty spill", lambda: waiting(proxy) == 0)
                until("readiness", lambda: readiness(proxy)[0] == 200)
                before = load.sent[200]
                until("calls again", lambda: load.sent[200] > before + 10)
            with self.subTest("refused, never broken"):
                self.assertLessEqual(set(load.sent), {200, 503})
            self.end(proxy, load)
