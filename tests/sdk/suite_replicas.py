"""Replicas on one PostgreSQL: whatever stops, every call that reached Bedrock has one entry.

Every suite has a server of its own, with the roles of `deploy/postgres/roles.sql`; replicas write as
the writer. Calls join with the simulator's bill as in `suite_crash`.
"""

import collections
import http.client
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse
import uuid

import replicas
import suite_budgets
import suite_crash
from harness import MODEL, ROOT, Workspace, run

sys.path.insert(0, str(ROOT / "tests"))
import postgres  # noqa: E402

SECONDS_MAX = replicas.SECONDS_MAX


class LongCalls:
    """Streams that are under way for longer than a lease."""

    def __init__(self, proxy, count=10):
        script = "input=300,output=30,frames=40,frame-delay-ms=150"
        self.path = f"/model/{MODEL}/converse-stream"
        self.answers = []
        self._threads = [
            threading.Thread(target=self._call, args=(proxy.url, script), daemon=True)
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, url, script):
        try:
            self.answers.append(Load._call(url, self.path, script))
        except (OSError, http.client.HTTPException):
            self.answers.append("broken")

    def wait(self):
        for thread in self._threads:
            thread.join(SECONDS_MAX)
        return collections.Counter(self.answers)


class Clients:
    """Streams without pause, each to a replica that takes connections. One that breaks after its
    head came was cut."""

    def __init__(self, proxies, count=6):
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
            thread.join(30)

    def _run(self):
        while not self._stop.is_set():
            self.ended[self._call(random.choice(self.proxies).url)] += 1

    @staticmethod
    def _call(url):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            try:
                connection.request(
                    "POST", f"/model/{MODEL}/converse-stream", suite_crash.BODY,
                    {"content-type": "application/json", "amz-sdk-invocation-id": str(uuid.uuid4()),
                     "x-simulate": "input=300,output=30,frames=30,frame-delay-ms=20"})
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                return "elsewhere"
            try:
                body = answer.read()
            except (OSError, http.client.HTTPException):
                return "cut"
            return "whole" if answer.status == 200 and b"metadata" in body else answer.status
        finally:
            connection.close()


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


class Replicas(replicas.OnPostgres):
    def judge(self, served, found):
        suite_crash.Crash.judge(self, served, found)

    def judge_sums(self):
        with self.subTest("sums of hours and days are those of the entries"):
            code, said = run("ledger", "verify", "--config", self.config("reader"))
            self.assertEqual(0, code, said)
            for table in ("rollup_hours", "rollup_days"):
                summed = self.server.sql(f"SELECT sum(calls) FROM bedrock_meter.{table}")[0][0]
                self.assertEqual(self.count("entries"), int(summed), table)

    def test_two_replicas_write_one_ledger_and_each_shows_the_sum_of_both(self):
        proxies = [self.replica("one"), self.replica("two")]
        with Load(1, proxies) as load:
            self.wait_for_more_entries(300)
        shown = {proxy: None for proxy in proxies}

        def settled():
            return len(self.simulator.served()) == self.count("entries")

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
        self.judge_sums()
        for proxy in proxies:
            self.assertEqual(0, proxy.terminate(), proxy.text())

    def test_a_budget_counts_what_all_replicas_have_spent_before_it_is_put_in_force(self):
        poor = {"budgets__poor": {"tenant": "poor", "limit_usd": "0.01", "period": "day", "action": "block"}}
        one = self.replica("one")
        for _ in range(10):
            # 1,000 tokens in and 10 out cost more than a thousandth of a dollar.
            self.assertEqual(200, suite_budgets.call(one, "poor", 50, "input=1000,output=10")[0])
        self.wait_until("every call is settled", lambda: self.count("entries") == 10)
        two = self.replica("two", poor)
        with self.subTest("by one that starts"):
            status, headers, _ = suite_budgets.call(two, "poor", 50)
            self.assertEqual((400, "budget_exhausted"), (status, headers.get("x-bedrock-meter-error")))
            self.assertEqual(200, suite_budgets.call(two, "rich", 50)[0])
        with self.subTest("by one whose budgets change"):
            self.assertEqual(200, suite_budgets.call(one, "poor", 50)[0])
            with one.config.open("a") as file:
                file.write(two.config.read_text()[two.config.read_text().index("[budgets.poor]"):])
            one.process.send_signal(signal.SIGHUP)
            self.wait_until("it is in force", lambda: "budgets_in_force" in one.text())
            status, headers, _ = suite_budgets.call(one, "poor", 50)
            self.assertEqual((400, "budget_exhausted"), (status, headers.get("x-bedrock-meter-error")))
        self.assertEqual([0, 0], [proxy.terminate() for proxy in (one, two)])

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
        self.judge_sums()

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
        self.judge_sums()

    def test_open_calls_of_a_replica_that_is_gone_with_its_disk_are_settled_by_the_other(self):
        stays, gone = self.replica("one", lease="2s"), self.replica("two", lease="2s")
        calls = LongCalls(gone)
        self.wait_until("the calls are told", lambda: self.count("open_calls") == 10)
        gone.kill()
        shutil.rmtree(gone.directory)
        self.assertEqual({"broken": 10}, calls.wait())
        self.assertEqual(0, self.count("entries"))
        self.wait_until("the other settles them", lambda: self.count("entries") == 10)
        found = self.entries()
        with self.subTest("as estimates, marked so"):
            self.assertEqual(
                {("estimated", "process_died", "interrupted")},
                {(e["usage_source"], e["usage_reason"], e["outcome"]) for e in found},
            )
        with self.subTest("each that the simulator served"):
            served = {row["sdk_invocation_id"] for row in self.simulator.served()}
            self.assertEqual(served, {entry["sdk_invocation_id"] for entry in found})
        with self.subTest("the other goes on, and is alone"):
            self.assertEqual({200: 2}, LongCalls(stays, 2).wait())
            self.assertEqual(0, stays.terminate())
            self.assertEqual(12, self.count("entries"))
            self.assertEqual(0, self.count("replicas"))

    def test_a_replica_that_was_only_frozen_settles_nothing_twice(self):
        stays, frozen = self.replica("one", lease="2s"), self.replica("two", lease="2s")
        calls = LongCalls(frozen)
        self.wait_until("the calls are told", lambda: self.count("open_calls") == 10)
        frozen.process.send_signal(signal.SIGSTOP)
        self.wait_until("the other settles them", lambda: self.count("entries") == 10)
        frozen.process.send_signal(signal.SIGCONT)
        with self.subTest("its clients have their whole answers"):
            self.assertEqual({200: 10}, calls.wait())
        with self.subTest("it says that it was away"):
            self.wait_until("it says so", lambda: "replica_returned" in frozen.text())
        self.assertEqual([0, 0], [frozen.terminate(), stays.terminate()])
        self.assertEqual(10, self.count("entries"))

    def test_a_server_that_was_away_for_longer_than_a_lease_makes_nobody_settle_for_others(self):
        proxies = [self.replica("one", lease="2s"), self.replica("two", lease="2s")]
        calls = [LongCalls(proxy, 5) for proxy in proxies]
        self.wait_until("the calls are told", lambda: self.count("open_calls") == 10)
        self.server.stop()
        time.sleep(3)
        self.server.start()
        self.assertEqual([{200: 5}, {200: 5}], [of_one.wait() for of_one in calls])
        self.wait_until("every call is settled", lambda: self.count("entries") == 10)
        self.assertEqual({"reported"}, {entry["usage_source"] for entry in self.entries()})
        self.assertEqual([0, 0], [proxy.terminate() for proxy in proxies])

    def test_replicas_are_replaced_one_after_another_under_load(self):
        proxies = {name: self.replica(name) for name in ("one", "two")}
        with Clients(proxies.values()) as clients:
            self.wait_for_more_entries()
            # What `ledger migrate` of the next version does while this one runs.
            self.server.sql(
                "ALTER TABLE bedrock_meter.entries ADD COLUMN of_tomorrow text; "
                "INSERT INTO bedrock_meter.schema VALUES (99, now(), 'the next', 1)")
            for name in ("one", "two"):
                old = proxies[name]
                clients.proxies = [proxy for proxy in proxies.values() if proxy is not old]
                with self.subTest(f"{name} ends what it has"):
                    self.assertEqual(0, old.terminate(), old.text())
                proxies[name] = self.replica(name)
                clients.proxies = list(proxies.values())
                self.wait_for_more_entries()
        self.assertEqual([0, 0], [proxy.terminate() for proxy in proxies.values()])
        served, found = self.simulator.served(), self.entries()
        print(f"\n    {len(served)} calls reached the simulator, {len(found)} entries, "
              f"answers {dict(clients.ended)}")
        with self.subTest("no stream is cut"):
            self.assertLessEqual(set(clients.ended), {"whole", "elsewhere"})
        with self.subTest("every call has one entry, and none is an estimate"):
            self.assertEqual(sorted(row["request_id"] for row in served),
                             sorted(entry["aws_request_id"] for entry in found))
            self.assertEqual({"reported"}, {entry["usage_source"] for entry in found})


@unittest.skipUnless(postgres.programs(), "no PostgreSQL is installed")
class Secured(unittest.TestCase):
    PASSWORD = "hunter2-of-the-reader"

    def setUp(self):
        self.server = postgres.Postgres()
        self.addCleanup(self.server.remove)
        self.path = self.enterContext(Workspace()).path
        self.certificate = self.path / "server.pem"
        key = self.server.path / "server.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
             "-keyout", key, "-out", self.certificate],
            capture_output=True, check=True,
        )
        key.chmod(0o600)
        shutil.copy(self.certificate, self.server.path / "server.pem")
        shutil.chown(key, self.server.path.owner(), self.server.path.group())
        self.server.sql((ROOT / "deploy/postgres/roles.sql").read_text())
        self.server.sql(f"ALTER ROLE meter_reader PASSWORD '{self.PASSWORD}'")
        self.assertEqual(0, self.run_with("ledger", "migrate", user="meter_owner", host="127.0.0.1",
                                          sslmode="disable")[0])
        (self.server.data / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\n"
            "hostssl all meter_reader 127.0.0.1/32 scram-sha-256\n")
        self.server.stop()
        self.server.settings = ("ssl=on", f"ssl_cert_file={self.server.path}/server.pem",
                                f"ssl_key_file={key}")
        self.server.start()

    def run_with(self, *command, user, host, password="", **settings):
        config = self.path / "ledger.toml"
        settings["url"] = f"postgres://{user}:{password}@{host}:{self.server.port}/postgres"
        config.write_text(
            '[ledger]\nstore = "postgres"\n[ledger.postgres]\n'
            + "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in settings.items()))
        return run(*command, "--config", config)

    def test_only_a_server_that_proves_its_name_is_told_the_password(self):
        for name, expected, words, options in [
            ("trusted", 0, "", {"ca_file": self.certificate}),
            ("of another name", 1, "certificate", {"ca_file": self.certificate, "host": "127.0.0.1"}),
            ("of an unknown authority", 1, "certificate", {}),
            ("in clear text", 1, "no encryption", {"sslmode": "disable"}),
            ("wrong password", 1, "28P01", {"ca_file": self.certificate, "password": "wrong"}),
        ]:
            with self.subTest(name):
                options = {"host": "localhost", "password": self.PASSWORD} | options
                code, printed = self.run_with("report", user="meter_reader", **options)
                self.assertEqual(expected, code, printed)
                self.assertIn(words, printed)
                self.assertNotIn(self.PASSWORD, printed)
