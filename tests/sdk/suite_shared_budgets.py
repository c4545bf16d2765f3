"""Two proxies share budgets through a real Redis: together they pass no limit, whatever happens to
one of them or to Redis.

The sums are made from the ledgers of both proxies, which know nothing of Redis.
"""

import collections
import concurrent.futures
import decimal
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from harness import ROOT, Proxy, Workspace, configuration, run
from suite_budgets import call, counted

sys.path.insert(0, str(ROOT / "tests"))
import postgres  # noqa: E402

USD = decimal.Decimal
MODE = "bedrock_meter_budget_store_mode"
# At once, over two replicas; `scripts/soak callers` has a thousand.
CALLERS = int(os.environ.get("BEDROCK_METER_CALLERS", "48"))
# The two cores of a test machine are busy: an outage is one that a test makes.
PATIENT = {"timeout": "5s", "lease": "5s"}


class Redis:
    """`redis-server` without persistence, on a socket file: one that starts again finds its address
    free. `on_a_port` is for what is reached by TCP, and never starts again."""

    def __init__(self, directory, port=0):
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / f"redis-{port}.sock"
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{self.socket}"
        self.start()

    @classmethod
    def on_a_port(cls, directory):
        while True:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            started = cls(directory, port)
            if started.process.poll() is None:
                return started

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--unixsocket", self.socket, "--dir", self.directory],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if "eady to accept connections" in line:
                break
        else:
            self.process.wait(30)
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def signal(self, which):
        self.process.send_signal(which)

    def command(self, *words):
        done = subprocess.run(["redis-cli", "-s", self.socket, *words],
                              capture_output=True, text=True, timeout=30, check=True)
        return done.stdout


def refused_rightly(text, limit):
    """Whether the numbers that a refusal names leave no room for the call."""
    found = re.search(r"limit \$(\S+) a \w+, spent \$(\S+), held for calls in flight \$(\S+), this call at most \$(\S+);",
                      text.decode())
    named, spent, held, this = (USD(number) for number in found.groups())
    return named == limit and spent + held + this > limit


class Load:
    """Callers without pause, of both proxies, until they are stopped."""

    def __init__(self, proxies, tenants, threads=4):
        self.proxies, self.tenants = proxies, tenants
        self.answers = collections.Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number):
        turn = number
        while not self._stop.is_set():
            tenant = self.tenants[turn // 2 % len(self.tenants)]
            status, headers, _ = call(self.proxies[turn % 2], tenant, 100)
            turn += 1
            with self._lock:
                self.answers[tenant, headers.get("x-bedrock-meter-error") or status] += 1

    def of(self, what):
        with self._lock:
            return sum(count for (_, answer), count in self.answers.items() if answer == what)

    def wait_for_more(self, what, more=10):
        """Until so many calls more were answered like this."""
        before = self.of(what)
        return wait_for(lambda: self.of(what) >= before + more, 60)


def wait_for(what, seconds=30):
    """Until it is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")
class Shared(unittest.TestCase):
    """Two proxies, a Redis and a simulator."""

    def setUp(self):
        self.workspace = Workspace()
        self.addCleanup(lambda: self.workspace.__exit__(None))
        self.redis = Redis(pathlib.Path(self.workspace.path))
        self.addCleanup(self.redis.kill)
        self.simulator = self.workspace.simulator()
        self.upstream = self.simulator.url

    def replicas(self, store=None, down="local-share", count=2, redis=None, **budgets):
        """Proxies that share the store, each with a ledger of its own."""
        found = []
        for number in range(count):
            path = self.workspace.path / f"replica-{number}"
            path.mkdir(exist_ok=True)
            found.append(self.start(path, store, down, redis, **budgets))
        return found

    def start(self, path, store=None, down="local-share", redis=None, **budgets):
        store = {"redis_url": (redis or self.redis).url, "deployment": "test", "replicas": 2} | PATIENT | (store or {})
        proxy = Proxy(path, self.upstream, budget_store=store, when={"budget_store_down": down}, **budgets)
        self.workspace.running.append(proxy)
        return proxy

    def mode(self, proxy, mode):
        return wait_for(lambda: proxy.metric(MODE, mode=mode) == 1)


class SharedBudgets(Shared):
    def spent(self, proxies, tenant):
        return sum((counted(e) for p in proxies for e in p.entries() if e["tenant"] == tenant), USD(0))

    def test_two_replicas_and_many_callers_pass_no_limit(self):
        seed = random.randrange(1 << 32)
        draw = random.Random(seed)
        limits = {f"t{n}": USD(draw.randrange(5_000, 300_000)) / 10**6 for n in range(50)}
        budgets = {f"budgets__{name}": {"tenant": name, "limit_usd": str(limit), "period": "day", "action": "block"}
                   for name, limit in limits.items()}
        with self.subTest(seed=seed):
            redis = Redis.on_a_port(self.workspace.path)
            self.addCleanup(redis.kill)
            many = {"connections_per_peer_max": 10_000}
            proxies = self.replicas(redis=redis, listener=many, **budgets)
            for proxy in proxies:
                self.assertTrue(self.mode(proxy, "shared"))
            plan = [(draw.choice(list(limits)), draw.choice((50, 500, 4_000)), draw.choice((10, 50)), draw.randrange(40))
                    for _ in range(max(1_200, 5 * CALLERS))]

            def one(item):
                number, (tenant, most, output, delay) = item
                script = f"input=100,output={output},delay-head-ms={delay}"
                status, _, text = call(proxies[number % 2], tenant, most, script)
                return status, status == 200 or refused_rightly(text, limits[tenant])

            with concurrent.futures.ThreadPoolExecutor(CALLERS) as threads:
                answers, rightly = zip(*threads.map(one, enumerate(plan)))
            self.assertEqual({200, 400}, set(answers))
            self.assertTrue(all(rightly), "every refused call would not have fitted")
            served = len(self.simulator.served())
            self.assertEqual(answers.count(200), served)
            wait_for(lambda: sum(len(p.entries()) for p in proxies) == len(plan))
            both = 0
            for tenant, limit in limits.items():
                self.assertLessEqual(self.spent(proxies, tenant), limit, tenant)
                apart = [self.spent([proxy], tenant) for proxy in proxies]
                both += all(apart)
            self.assertGreater(both, 10, "both replicas spend of most budgets")
            print(f"\n    {CALLERS} callers, seed {seed}: {served} of {len(plan)} calls passed; {both} of 50 budgets were spent by both")

    def test_a_killed_replica_keeps_what_it_held_until_it_counts_as_spent(self):
        limit = {"limit_usd": "0.1", "action": "block"}
        lost, alive = self.replicas(budgets__all=limit)
        slow = "input=10,output=10,delay-head-ms=20000"

        def hang():
            try:
                call(lost, "team", 2_000, slow)
            except (OSError, http.client.HTTPException):
                pass

        thread = threading.Thread(target=hang, daemon=True)
        thread.start()
        self.assertTrue(wait_for(lambda: lost.metric("bedrock_meter_in_flight_requests") == 1))
        # 2,000 tokens of output hold some 7 cents: a second call of them does not fit, wherever it comes.
        said = call(alive, "team", 2_000)
        self.assertEqual(400, said[0], said)
        self.assertIn(b"spent $0, held for calls in flight $0.07", said[2])
        lost.kill()

        def is_spent():
            status, _, text = call(alive, "team", 2_000)
            self.assertEqual(400, status)
            return b"spent $0.07" in text and b"held for calls in flight $0," in text

        self.assertTrue(wait_for(is_spent))
        self.assertIn("budget_lease_expired", alive.text())
        thread.join(30)

    def test_a_budget_that_a_reload_brings_holds_what_is_in_flight_for_both_replicas(self):
        sales = {"tenant": "sales", "limit_usd": "1", "action": "block"}
        busy, idle = self.replicas(budgets__sales=sales)
        # No budget applies to it.
        slow = threading.Thread(target=call, args=(busy, "team", 2_000, "input=10,output=10,delay-head-ms=20000"), daemon=True)
        slow.start()
        self.assertTrue(wait_for(lambda: busy.metric("bedrock_meter_in_flight_requests") == 1))
        store = {"redis_url": self.redis.url, "deployment": "test", "replicas": 2} | PATIENT
        changes = {"budget_store": store, "budgets__sales": sales,
                   "budgets__all": {"limit_usd": "0.1", "action": "block"}}
        for proxy in (busy, idle):
            proxy.config.write_text(configuration(proxy.ledger, self.upstream, changes))
            proxy.process.send_signal(signal.SIGHUP)
            self.assertTrue(wait_for(lambda: proxy.metric("bedrock_meter_budget_limit_usd", budget="all") == 0.1))
        # 2,000 tokens of output hold some 7 cents: no second call of them fits, wherever it comes.
        for proxy in (idle, busy):
            said = call(proxy, "team", 2_000)
            self.assertEqual(400, said[0], said)
            self.assertIn(b"spent $0, held for calls in flight $0.07", said[2])
        slow.join(30)
        (entry,) = busy.wait_for_entries(1, 30, outcome="success")
        self.assertGreater(entry["reserved_microusd"], 70_000)
        sums = f"spent ${counted(entry).normalize()}, held for calls in flight $0,".encode()
        self.assertTrue(wait_for(lambda: sums in call(idle, "team", 4_000)[2]))

    def test_what_redis_forgets_comes_back_from_ledgers_and_calls_in_flight(self):
        proxies = self.replicas(budgets__all={"limit_usd": "0.15", "action": "block"})
        for proxy in proxies:
            self.assertEqual(200, call(proxy, "team", 500, "input=100,output=500")[0])
        wait_for(lambda: len(self.sent(proxies)) == 2)
        spent = f"spent ${self.spent(proxies, 'team').normalize():f}, held for calls in flight $".encode()
        said = None
        def settled():
            nonlocal said
            said = call(proxies[1], "team", 100_000)[2]
            return spent + b"0," in said
        self.assertTrue(wait_for(settled), said)
        # A call in flight that holds some 0.073: a second one does not fit.
        thread = threading.Thread(
            target=call, args=(proxies[0], "team", 2_000, "input=10,output=10,delay-head-ms=20000"), daemon=True)
        thread.start()
        self.assertTrue(wait_for(lambda: proxies[0].metric("bedrock_meter_in_flight_requests") == 1))
        for loss in ("flush", "restart"):
            with self.subTest(loss):
                if loss == "flush":
                    self.redis.command("FLUSHALL")
                else:
                    self.redis.kill()
                    self.redis.start()
                    for proxy in proxies:
                        self.assertTrue(self.mode(proxy, "shared"))
                status, _, text = call(proxies[1], "team", 2_000)
                self.assertEqual(400, status, text)
                self.assertIn(spent + b"0.07", text)
        thread.join(30)

    def test_each_mode_while_redis_stands_still(self):
        for down in ("refuse", "allow", "local-share"):
            with self.subTest(down):
                store = {"deployment": down, "timeout": "300ms"}
                proxies = self.replicas(store, down, budgets__all={"limit_usd": "0.08", "action": "block"})
                for proxy in proxies:
                    self.assertTrue(self.mode(proxy, "shared"))
                    wait_for(lambda: call(proxy, "team", 1)[0] == 200)
                self.redis.signal(signal.SIGSTOP)
                try:
                    # 500 tokens hold some 0.028 of the 0.08, of which each replica has half; 900 hold more.
                    answers = [call(proxies[0], "team", 500)]
                    self.assertEqual(1, proxies[0].metric(MODE, mode=down))
                    if down != "refuse":
                        self.assertTrue(wait_for(lambda: call(proxies[0], "team", 1)[0] == 200))
                    answers.append(call(proxies[0], "team", 900))
                finally:
                    self.redis.signal(signal.SIGCONT)
                statuses = [status for status, _, _ in answers]
                if down == "refuse":
                    self.assertEqual([503] * 2, statuses)
                    self.assertEqual("budget_store_unavailable", answers[0][1]["x-bedrock-meter-error"])
                else:
                    self.assertEqual([200, 200 if down == "allow" else 400], statuses)
                for proxy in proxies:
                    self.assertTrue(self.mode(proxy, "shared"))
                # What was spent meanwhile is seen by the other.
                total = self.spent(proxies, "team")
                said = f"spent ${total.normalize():f}, held for calls in flight $0,".encode()
                self.assertTrue(wait_for(lambda: said in call(proxies[1], "team", 100_000)[2], 10), said)
                for proxy in proxies:
                    self.assertEqual(0, proxy.terminate(), proxy.text())

    def lay_hands_on(self, proxies, load, down):
        """Redis stands still, dies and forgets under load; each time it comes back."""
        during = "budget_store_unavailable" if down == "refuse" else 200
        self.redis.signal(signal.SIGSTOP)
        try:
            stood_still = [self.mode(proxy, down) for proxy in proxies] + [load.wait_for_more(during)]
        finally:
            self.redis.signal(signal.SIGCONT)
        self.assertTrue(all(stood_still), "calls were decided without it")
        self.assertTrue(all([self.mode(proxy, "shared") for proxy in proxies]))
        self.assertTrue(load.wait_for_more(200))
        self.redis.kill()
        died = [self.mode(proxy, down) for proxy in proxies] + [load.wait_for_more(during)]
        self.redis.start()
        self.assertTrue(all(died), "calls were decided without it")
        self.assertTrue(all([self.mode(proxy, "shared") for proxy in proxies]))
        self.assertTrue(load.wait_for_more(200))
        self.redis.command("FLUSHALL")
        self.assertTrue(load.wait_for_more(200))

    def judge(self, proxies, entries, load, served):
        """No call is lost or counted twice, and Redis says what the ledgers say."""
        self.assertEqual(sorted(row["request_id"] for row in served),
                         sorted(entry["aws_request_id"] for entry in entries if entry["aws_request_id"]))
        self.assertEqual(load.of(200), len(served))
        self.judge_sums(proxies, entries, load.tenants)

    def judge_sums(self, proxies, entries, tenants):
        for tenant in tenants:
            total = sum((counted(e) for e in entries if e["tenant"] == tenant), USD(0))
            for proxy in proxies:
                def stands(proxy=proxy, tenant=tenant, total=total):
                    names = {"budget": tenant}
                    spent = proxy.metric("bedrock_meter_budget_spent_usd", **names)
                    held = proxy.metric("bedrock_meter_budget_reserved_usd", **names)
                    return abs(USD(spent) - total) < USD("1e-9") and held == 0
                shown = proxy.metric("bedrock_meter_budget_spent_usd", budget=tenant)
                self.assertTrue(wait_for(stands), f"{tenant}: {shown} instead of {total}")

    def test_whatever_happens_to_redis_no_call_is_lost_and_sums_come_back(self):
        limits = {"wide": "1000", "narrow": "0.1"}
        budgets = {f"budgets__{name}": {"tenant": name, "limit_usd": limit, "action": "block"}
                   for name, limit in limits.items()}
        seen = 0
        for down in ("refuse", "allow", "local-share"):
            with self.subTest(down):
                # Each mode has ledgers of its own.
                proxies = [self.start(self.directory(f"{down}-{number}"), {"deployment": down, "timeout": "300ms"},
                                      down, **budgets) for number in range(2)]
                for proxy in proxies:
                    self.assertTrue(self.mode(proxy, "shared"))
                with Load(proxies, list(limits)) as load:
                    self.assertTrue(load.wait_for_more(200))
                    self.lay_hands_on(proxies, load, down)
                served = self.simulator.served()[seen:]
                seen += len(served)
                said = {200, "budget_exhausted"} | ({"budget_store_unavailable"} if down == "refuse" else set())
                self.assertLessEqual({answer for _, answer in load.answers}, said)
                wait_for(lambda: len(self.sent(proxies)) >= len(served))
                self.judge(proxies, self.sent(proxies), load, served)
                if down == "refuse":
                    self.assertLessEqual(self.spent(proxies, "narrow"), USD(limits["narrow"]))
                print(f"\n    {down}: {dict(load.answers)}", end="")
                for proxy in proxies:
                    self.assertEqual(0, proxy.terminate(), proxy.text())
        print()

    def test_a_replica_that_dies_while_redis_is_away_is_summed_up_when_it_is_back(self):
        budgets = {"budgets__team": {"tenant": "team", "limit_usd": "1000", "action": "block"}}
        store = {"timeout": "300ms"}
        paths = [self.directory(name) for name in ("dies", "lives")]
        proxies = [self.start(path, store, "allow", **budgets) for path in paths]
        for proxy in proxies:
            self.assertTrue(self.mode(proxy, "shared"))
        with Load(proxies, ["team"]) as load:
            self.assertTrue(load.wait_for_more(200))
            self.redis.signal(signal.SIGSTOP)
            stood_still = [self.mode(proxy, "allow") for proxy in proxies] + [load.wait_for_more(200, 20)]
        try:
            self.assertTrue(all(stood_still), "calls were decided without it")
            served = self.simulator.served()
            wait_for(lambda: len(self.sent(proxies)) >= len(served))
            # Nobody but its ledger knows now what it spent meanwhile.
            proxies[0].kill()
        finally:
            self.redis.signal(signal.SIGCONT)
        proxies[0] = self.start(paths[0], store, "allow", **budgets)
        for proxy in proxies:
            self.assertTrue(self.mode(proxy, "shared"))
        self.judge(proxies, self.sent(proxies), load, served)
        self.assertEqual([0, 0], [proxy.terminate() for proxy in proxies])

    def directory(self, name):
        path = self.workspace.path / name
        path.mkdir()
        return path

    def sent(self, proxies):
        """Entries of calls that reached Bedrock."""
        return [e for p in proxies for e in p.entries() if e["outcome"] != "budget_refused"]

    @unittest.skipUnless(postgres.programs(), "PostgreSQL is not installed")
    def test_replicas_on_one_postgres_read_it_once_for_all(self):
        server = postgres.Postgres()
        self.addCleanup(server.remove)
        server.sql((ROOT / "deploy/postgres/roles.sql").read_text())
        owner = self.workspace.path / "owner.toml"
        owner.write_text(f'[ledger]\nstore = "postgres"\n[ledger.postgres]\nurl = "{server.url("meter_owner")}"\n'
                         'sslmode = "disable"\n')
        code, printed = run("ledger", "migrate", "--config", owner)
        self.assertEqual(0, code, printed)
        ledger = {"url": server.url("meter_writer"), "sslmode": "disable"}
        budgets = {"budgets__team": {"tenant": "team", "limit_usd": "1000", "action": "block"}}
        proxies = [self.start(self.directory(name), None, "refuse", ledger={"store": "postgres"},
                              ledger__postgres=ledger, replica={"id": name}, **budgets) for name in ("one", "two")]
        for proxy in proxies:
            self.assertTrue(self.mode(proxy, "shared"))
        with Load(proxies, ["team"]) as load:
            self.assertTrue(load.wait_for_more(200))
            self.redis.kill()
            self.assertTrue(load.wait_for_more("budget_store_unavailable"))
            self.redis.start()
            self.assertTrue(load.wait_for_more(200))
        served = self.simulator.served()

        def entries():
            rows = server.sql("SELECT to_json(e) FROM bedrock_meter.entries AS e WHERE aws_request_id IS NOT NULL")
            return [json.loads(row[0]) for row in rows]

        wait_for(lambda: len(entries()) >= len(served))
        self.judge(proxies, entries(), load, served)
        for proxy in proxies:
            self.assertEqual(0, proxy.terminate(), proxy.text())

    def passed(self, proxies, tenant, count):
        """How many of so many calls passed, and the most that a limit of 20 a minute gives meanwhile."""
        begun = time.monotonic()
        statuses = collections.Counter(call(proxies[turn % len(proxies)], tenant, 10)[0] for turn in range(count))
        # Every third second pays for one.
        return statuses, 20 + (time.monotonic() - begun) // 3 + 1

    def test_two_replicas_share_one_rate(self):
        limit = {"tenant": "*", "requests_per_minute": 20, "burst": "1m"}
        proxies = self.replicas(limits__each=limit)
        for proxy in proxies:
            self.assertTrue(self.mode(proxy, "shared"))
        statuses, most = self.passed(proxies, "both", 60)
        self.assertEqual({200, 429}, set(statuses))
        self.assertTrue(20 <= statuses[200] <= most, (statuses, most))
        status, headers, _ = call(proxies[0], "both", 10)
        self.assertEqual("rate_limited", headers.get("x-bedrock-meter-error"), (status, headers))
        self.redis.signal(signal.SIGSTOP)
        try:
            # Each gives its half.
            statuses, most = self.passed(proxies, "apart", 60)
            self.assertTrue(20 <= statuses[200] <= most, (statuses, most))
            statuses, most = self.passed(proxies[:1], "alone", 30)
            self.assertTrue(10 <= statuses[200] <= most - 10, (statuses, most))
        finally:
            self.redis.signal(signal.SIGCONT)
        for proxy in proxies:
            self.assertTrue(self.mode(proxy, "shared"))
        statuses, most = self.passed(proxies, "again", 60)
        self.assertTrue(20 <= statuses[200] <= most, (statuses, most))

    def asked(self, proxies, tenant, count=15):
        """What calls of a tenant were told, and how many times six seconds have begun meanwhile."""
        begun = time.monotonic()
        told = collections.Counter()
        for turn in range(count):
            status, headers, _ = call(proxies[turn % len(proxies)], tenant, 10)
            told[headers.get("x-bedrock-meter-error") or status] += 1
        return told, (time.monotonic() - begun) // 6 + 1

    def test_the_account_s_quota_in_each_mode_while_redis_stands_still(self):
        quota = {"model": "*claude*", "requests_per_minute": 20, "burst": "1m"}
        for down in ("refuse", "allow", "local-share"):
            with self.subTest(down):
                proxies = self.replicas({"deployment": f"quota-{down}"}, down, limits__account__claude=quota)
                for proxy in proxies:
                    self.assertTrue(self.mode(proxy, "shared"))
                self.redis.signal(signal.SIGSTOP)
                try:
                    for number, proxy in enumerate(proxies):
                        # The keeper notices by itself.
                        self.assertTrue(self.mode(proxy, down))
                        told, more = self.asked([proxy], "team")
                        if down == "refuse":
                            self.assertEqual({"budget_store_unavailable": 15}, told)
                        elif down == "allow":
                            self.assertEqual({200: 15}, told)
                        else:
                            # A tenant alone has half of what is free at once: of ten here, and then one in six seconds.
                            self.assertEqual({200, "account_quota"}, set(told), number)
                            self.assertTrue(5 <= told[200] <= 5 + more, (told, more))
                finally:
                    self.redis.signal(signal.SIGCONT)
                for proxy in proxies:
                    self.assertTrue(self.mode(proxy, "shared"))
                # Of twenty, through both, and then one in three seconds.
                told, more = self.asked(proxies, "team", 30)
                self.assertEqual({200, "account_quota"}, set(told))
                self.assertTrue(10 <= told[200] <= 10 + 2 * more, (told, more))
                for proxy in proxies:
                    self.assertEqual(0, proxy.terminate(), proxy.text())

    def test_without_redis_at_the_start_it_serves_and_joins_later(self):
        self.redis.kill()
        [proxy] = self.replicas(count=1, budgets__all={"limit_usd": "1", "action": "block"})
        self.assertEqual(200, call(proxy, "team", 10)[0])
        self.assertEqual(1, proxy.metric(MODE, mode="local-share"))
        self.redis.start()
        self.assertTrue(self.mode(proxy, "shared"))
        self.assertEqual(200, call(proxy, "team", 10)[0])
        self.assertEqual(0, proxy.terminate())
