"""Replicas on one PostgreSQL: whatever stops, every call that reached Bedrock has one entry.

Every suite has a server of its own, with the roles of `deploy/postgres/roles.sql`; replicas write as
the writer. Calls join with the simulator's bill as in `suite_crash`.
"""

import json
import random
import signal
import sys
import time
import unittest

import suite_crash
from harness import ROOT, Workspace, run

sys.path.insert(0, str(ROOT / "tests"))
import postgres  # noqa: E402

SECONDS_MAX = 60


class Load(suite_crash.Load):
    """Calls any of the replicas."""

    def __init__(self, seed, proxies):
        super().__init__(seed)
        self.proxies = list(proxies)

    @property
    def url(self):
        return random.choice(self.proxies).url

    @url.setter
    def url(self, _):
        pass


@unittest.skipUnless(postgres.programs(), "no PostgreSQL is installed")
class Replicas(unittest.TestCase):
    def setUp(self):
        self.server = postgres.Postgres()
        self.addCleanup(self.server.remove)
        self.workspace = self.enterContext(Workspace())
        self.simulator = self.workspace.simulator()
        self.server.sql((ROOT / "deploy/postgres/roles.sql").read_text())
        code, printed = run("ledger", "migrate", "--config", self.config("owner"))
        self.assertEqual(0, code, printed)

    def ledger(self, role):
        return {"url": self.server.url(f"meter_{role}"), "sslmode": "disable",
                "connect_timeout": "1s", "statement_timeout": "2s"}

    def config(self, role):
        file = self.workspace.path / f"{role}.toml"
        lines = "".join(f"{k} = {json.dumps(v)}\n" for k, v in self.ledger(role).items())
        file.write_text(f'[ledger]\nstore = "postgres"\n[ledger.postgres]\n{lines}')
        return file

    def replica(self, name):
        return self.workspace.proxy(
            self.simulator.url, name=name, ledger={"store": "postgres"},
            ledger__postgres=self.ledger("writer"),
        )

    def entries(self):
        rows = self.server.sql("SELECT to_json(e) FROM bedrock_meter.entries AS e")
        return [json.loads(row[0]) for row in rows]

    def wait_until(self, what, is_so):
        deadline = time.monotonic() + SECONDS_MAX
        while not is_so():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def wait_for_more_entries(self, more=50):
        """The store takes entries, so that what comes next hits it at work."""
        count = "SELECT count(*) FROM bedrock_meter.entries"
        before = int(self.server.sql(count)[0][0])
        self.wait_until("entries arrive", lambda: int(self.server.sql(count)[0][0]) >= before + more)

    def judge(self, served, found):
        suite_crash.Crash.judge(self, served, found)

    def test_two_replicas_write_one_ledger_and_each_shows_the_sum_of_both(self):
        proxies = [self.replica("one"), self.replica("two")]
        with Load(1, proxies) as load:
            self.wait_for_more_entries(300)
        shown = {proxy: None for proxy in proxies}

        def settled():
            served = len(self.simulator.served())
            return served == int(self.server.sql("SELECT count(*) FROM bedrock_meter.entries")[0][0])

        self.wait_until("every call is settled", settled)
        found = self.entries()
        print(f"\n    {len(found)} entries, answers {dict(load.sent)}")
        total = self.server.sql(
            "SELECT sum(cost_microusd) * 0.000001 + sum(cost_femtousd) * 0.000000000000001 "
            "FROM bedrock_meter.entries"
        )[0][0]
        with self.subTest("both have written"):
            def written():
                return [p.metric("bedrock_meter_ledger_entries_total") for p in proxies]

            self.wait_until("both have counted", lambda: sum(written()) == len(found))
            self.assertTrue(all(written()), written())
        for proxy in proxies:
            def value(proxy=proxy):
                shown[proxy] = proxy.metric("bedrock_meter_period_cost_usd", period="month")
                return abs(shown[proxy] - float(total)) < 1e-9
            with self.subTest("each shows the cost of both"):
                self.wait_until(f"{shown} is {total}", value)
        with self.subTest("the reader's report adds up to it"):
            code, text = run("report", "--config", self.config("reader"), "--by", "tenant",
                             "--from", "2000-01-01", "--to", "2100-01-01", "--format", "json")
            self.assertEqual(0, code, text)
            self.assertEqual(float(total), float(json.loads(text)["total"]["cost_usd"]))
        with self.subTest("usage is what was served"):
            bill = {row["request_id"]: row["usage"] for row in self.simulator.served()}
            for entry in found:
                usage = bill[entry["aws_request_id"]]
                self.assertEqual((usage["input_tokens"], usage["output_tokens"]),
                                 (entry["input_tokens"], entry["output_tokens"]))
        for proxy in proxies:
            self.assertEqual(0, proxy.terminate(), proxy.text())

    def test_a_server_that_stops_crashes_starts_and_freezes_costs_no_entry(self):
        proxies = [self.replica("one"), self.replica("two")]
        with Load(2, proxies) as load:
            self.wait_for_more_entries()
            self.server.stop()
            time.sleep(0.5)
            self.server.start()
            self.wait_for_more_entries()
            self.server.stop(signal.SIGQUIT)
            time.sleep(0.5)
            self.server.start()
            self.wait_for_more_entries()
            self.server.freeze()
            # Longer than a statement may take.
            time.sleep(4)
            self.server.thaw()
            self.wait_for_more_entries()
        with self.subTest("each stops by itself"):
            self.assertEqual([0, 0], [proxy.terminate() for proxy in proxies])
        served, found = self.simulator.served(), self.entries()
        print(f"\n    {len(served)} calls reached the simulator, {len(found)} entries, "
              f"answers {dict(load.sent)}")
        requests = [entry["aws_request_id"] for entry in found]
        with self.subTest("every call has one entry"):
            self.assertEqual(sorted(row["request_id"] for row in served), sorted(requests))
        with self.subTest("none is an estimate"):
            self.assertEqual({"reported"}, {entry["usage_source"] for entry in found})

    def test_a_replica_that_is_killed_settles_what_it_left_open_and_the_other_serves_on(self):
        stays, killed = self.replica("one"), self.replica("two")
        with Load(3, [stays, killed]) as load:
            for _ in range(5):
                self.wait_for_more_entries()
                killed.kill()
                load.proxies = [stays]
                self.wait_for_more_entries()
                killed = self.replica("two")
                load.proxies = [stays, killed]
            self.wait_for_more_entries()
        self.assertEqual([0, 0], [stays.terminate(), killed.terminate()])
        served, found = self.simulator.served(), self.entries()
        print(f"\n    {len(served)} calls reached the simulator, {len(found)} entries, "
              f"answers {dict(load.sent)}")
        self.judge(served, found)
