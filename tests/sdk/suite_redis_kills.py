"""Replicas killed at random moments while the Redis that they share is in trouble: stopped, frozen,
paused, emptied, cut off, its answers lost.

After all of it: no call that the simulator served is missing from the ledgers, none is there twice, and
dollars are those of an independent bill. What Redis says was spent is what the ledgers say, or more by no
more than what calls held that were under way at a kill; nothing is held any more; and once all is
summed up again it is the same to the femtodollar. Where the one who settled a call that died could not
tell Redis, and died too, Redis knows the hold, and the ledger an estimate, which may be above it.

`BEDROCK_METER_KILLS` and `BEDROCK_METER_SEED` are those of `suite_store`.
"""

import collections
import concurrent.futures
import contextlib
import http.client
import itertools
import random
import shutil
import signal
import subprocess
import threading
import time
import unittest
import urllib.parse
import uuid
from fnmatch import fnmatch

import replicas
import suite_shared_budgets as shared
import suite_store
from harness import MODEL, Workspace
from suite_budgets import USD, body, counted
from suite_store import KILLS, SEED, until
from wire import Wire

NAMES = ("one", "two", "three")
CALLERS = 8
TENANTS = ("wide", "narrow")
# Whose calls count in each.
BUDGETS = {
    "wide": {"tenant": "wide", "limit_usd": "1000", "action": "block"},
    "narrow": {"tenant": "narrow", "limit_usd": "0.5", "action": "block"},
    "newest": {"tenant": "wid*", "limit_usd": "1000", "period": "rolling 24h", "action": "block"},
    "all": {"limit_usd": "10000", "period": "year"},
}
SHAPES = (
    ("converse", "input=100,output=10"),
    ("converse", "input=200,output=20,delay-head-ms=120"),
    ("converse-stream", "input=300,output=30,frames=40,frame-delay-ms=5"),
    ("converse-stream", "input=400,output=40,frames=10"),
)


class Load:
    """Clients that call any of the replicas without pause, and go on when one is away."""

    def __init__(self, seed, proxies):
        self.proxies = list(proxies)
        self.sent = collections.Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(random.Random(seed + n),), daemon=True)
                         for n in range(CALLERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, draw):
        while not self._stop.is_set():
            proxy, tenant = draw.choice(self.proxies), draw.choice(TENANTS)
            try:
                self.sent[call(proxy, tenant, *draw.choice(SHAPES))] += 1
            except (OSError, http.client.HTTPException):
                self.sent["broken"] += 1
                time.sleep(0.02)

    def wait_for_more(self, more=20):
        """Calls go through, so that what comes next hits replicas at work."""
        before = self.sent[200]
        until("calls pass", lambda: self.sent[200] >= before + more)


def call(proxy, tenant, operation, script):
    """Status, or what the refusal calls itself."""
    parts = urllib.parse.urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    headers = {"content-type": "application/json", "x-bedrock-meter-tenant": tenant, "x-simulate": script,
               "amz-sdk-invocation-id": str(uuid.uuid4())}
    try:
        connection.request("POST", f"/model/{MODEL}/{operation}", body(50), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.headers.get("x-bedrock-meter-error") or answer.status
    finally:
        connection.close()


def exact(_):
    return USD(0)


def above_hold(entry):
    """By how much the estimate of a call whose replica died is above what was held for it."""
    held = USD(entry["reserved_microusd"]) / 10**6
    return counted(entry) - held if entry["usage_reason"] == "process_died" else USD(0)


class Kills:
    """What both ledgers have in common."""

    def set_up_redis(self):
        self.redis = shared.Redis(self.workspace.path)
        self.addCleanup(lambda: self.redis.kill())
        self.wire = Wire(self.redis.socket)
        self.addCleanup(self.wire.close)

    @contextlib.contextmanager
    def stopped(self):
        self.redis.kill()
        try:
            yield
        finally:
            self.redis.start()

    @contextlib.contextmanager
    def frozen(self):
        self.redis.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.redis.signal(signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self):
        """It answers, and does nothing that writes."""
        self.redis.command("CLIENT", "PAUSE", "600000", "WRITE")
        try:
            yield
        finally:
            self.redis.command("CLIENT", "UNPAUSE")

    @contextlib.contextmanager
    def emptied(self):
        self.redis.command("FLUSHALL")
        yield

    def ways(self):
        """Ways to be in trouble, and whether calls are decided without it meanwhile."""
        return ((self.stopped, True), (self.emptied, False), (self.frozen, True), (self.wire.cut, True),
                (contextlib.nullcontext, False), (self.paused, True), (self.wire.losing_answers, True))

    def sections(self, down):
        """What replicas are configured with, by the sections' names."""
        store = {"redis_url": f"redis://127.0.0.1:{self.wire.port}", "deployment": "kills", "replicas": len(NAMES),
                 "timeout": "300ms", "lease": "5s"}
        budgets = {f"budgets__{budget}": values for budget, values in BUDGETS.items()}
        return {"budget_store": store, "when": {"budget_store_down": down}} | budgets

    def kill_in_trouble(self, down, kills_max):
        print(f"\n    {kills_max} kills, {down}, seed {SEED}")
        draw = random.Random(f"{down} {kills_max} {SEED}")
        proxies = {name: self.started(name, down) for name in NAMES}
        ways, kills = list(self.ways()), 0
        draw.shuffle(ways)
        ways = itertools.cycle(ways)
        with Load(draw.random(), proxies.values()) as load:
            while kills < kills_max:
                away, is_without = next(ways)
                # At least one stays, another one each time.
                dying = draw.sample(NAMES, min(draw.randint(1, len(NAMES) - 1), kills_max - kills))
                load.wait_for_more()
                with away():
                    if is_without:
                        until("calls are decided without it", lambda: any(
                            proxy.metric(shared.MODE, mode=down) == 1 for proxy in proxies.values()))
                    for name in dying:
                        time.sleep(draw.uniform(0.0, 0.4))
                        proxies[name].kill()
                        load.proxies = [p for p in proxies.values() if p.process.poll() is None]
                    self.start_in_vain(proxies[dying[0]], draw)
                    # Every other time they come back before it does.
                    if draw.random() < 0.5:
                        self.start_again(proxies, dying, down)
                        load.proxies = list(proxies.values())
                        load.wait_for_more()
                self.start_again(proxies, dying, down)
                load.proxies = list(proxies.values())
                kills += len(dying)
            load.wait_for_more()
            for proxy in proxies.values():
                until("it is back", lambda proxy=proxy: proxy.metric(shared.MODE, mode="shared") == 1)
            load.wait_for_more()
        with self.subTest("calls broke with their replica or had no room, and failed in no other way"):
            self.assertLessEqual(set(load.sent), {200, "broken", "budget_exhausted"})
        self.judge(list(proxies.values()), load, kills)

    def start_again(self, proxies, dying, down):
        gone = [name for name in dying if proxies[name].process.poll() is not None]
        with concurrent.futures.ThreadPoolExecutor(len(NAMES)) as threads:
            proxies |= zip(gone, threads.map(lambda name: self.started(name, down), gone))

    @staticmethod
    def start_in_vain(proxy, draw):
        """A start that is itself killed, maybe while it settles what was left open."""
        impatient = subprocess.Popen(proxy.process.args, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.0, 0.5))
        impatient.kill()
        impatient.wait()

    def judge(self, proxies, load, kills):
        # Every replica has a counter of each, to be looked at.
        for proxy, tenant in itertools.product(proxies, TENANTS):
            self.assertIn(call(proxy, tenant, *SHAPES[0]), {200, "budget_exhausted"})
        served = self.simulator.served()
        with contextlib.suppress(AssertionError):
            # What is missing for ever is told below, by its name.
            until("every call has its entry", lambda: self.names(served) <= self.names(self.sent(proxies)))
        found = self.sent(proxies)
        sources = collections.Counter(entry["usage_source"] for entry in found)
        print(f"\n    {len(served)} calls served, {len(found)} entries {dict(sources)}, answers {dict(load.sent)}")
        suite_store.Store.judge(self, served, found)
        held_max = max(USD(entry["reserved_microusd"]) for entry in found) / 10**6
        with self.subTest("nothing is held, and what died counts at its hold"):
            self.judge_budgets(proxies, found, kills * CALLERS * held_max, is_exact=False)
        with self.subTest("summed up again it is what ledgers say"):
            self.redis.command("DEL", "{bm:kills}:epoch")
            self.judge_budgets(proxies, found)
        with self.subTest("each stops by itself"):
            self.assertEqual([0] * len(proxies), [proxy.terminate() for proxy in proxies])

    @staticmethod
    def names(rows):
        return {row["sdk_invocation_id"] for row in rows}

    def judge_budgets(self, proxies, found, more_max=0, is_exact=True):
        """What Redis has, and then what each replica shows. Where it is not exact, an estimate above
        what was held for a call that died may be in the ledger alone."""
        def sums(of):
            return {name: sum((of(e) for e in found if fnmatch(e["tenant"], budget.get("tenant", "*"))), USD(0))
                    for name, budget in BUDGETS.items()}

        totals, less, stands = sums(counted), sums(exact if is_exact else self.in_ledger_alone), {}

        def agrees():
            stands.update(self.in_redis())
            return self.is_summed_up() and all(
                held == 0 and -less[name] <= spent - totals[name] <= more_max for name, (spent, held) in stands.items())
        with contextlib.suppress(AssertionError):
            until("budgets agree with ledgers", agrees)
        said = [f"{name}: ${spent} spent, ${held} held; ledgers say ${totals[name]}"
                for name, (spent, held) in stands.items()]
        self.assertTrue(agrees(), "\n".join(said))
        print("    " + "\n    ".join(said))

        def is_shown(proxy, name):
            spent, held = (proxy.metric(f"bedrock_meter_budget_{what}_usd", budget=name) for what in ("spent", "reserved"))
            return abs(USD(spent) - stands[name][0]) < USD("1e-9") and held == 0
        for proxy, name in itertools.product(proxies, BUDGETS):
            until(f"a gauge of {name} is what Redis has", lambda proxy=proxy, name=name: is_shown(proxy, name))

    def epoch(self):
        # While there is none, no key has that name.
        return "{bm:kills}:" + (self.redis.command("HGET", "{bm:kills}:epoch", "id").strip() or "none")

    def hashes(self, kind):
        """Of each budget, the fields of its hashes of that kind in the present epoch."""
        found = collections.defaultdict(dict)
        prefix = f"{self.epoch()}:{kind}:"
        # No key at all is an empty line.
        for key in self.redis.command("KEYS", prefix + "*").split("\n"):
            if not key:
                continue
            lines = self.redis.command("HGETALL", key).split()
            found[key.removeprefix(prefix).split("|")[0]] |= zip(lines[::2], lines[1::2])
        return found

    def in_redis(self):
        """What was spent and is held of each budget: each has one counter."""
        found = {name: (USD(0), USD(0)) for name in BUDGETS}
        for name, fields in self.hashes("c").items():
            parts = collections.Counter()
            for field, value in fields.items():
                parts[field[0]] += int(value)
            found[name] = (USD(parts["s"]) / 10**6 + USD(parts["f"]) / 10**15, USD(parts["h"]) / 10**6)
        return found

    def is_summed_up(self):
        """Whether every ledger is in what was spent of every budget."""
        marks = self.hashes("m")
        return all(sum(not field.startswith("w:") for field in marks[name]) == self.ledgers for name in BUDGETS)


@unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")
class OnFiles(Kills, unittest.TestCase):
    """Each replica has a ledger of its own."""

    ledgers = len(NAMES)
    in_ledger_alone = staticmethod(above_hold)

    def setUp(self):
        self.workspace = self.enterContext(Workspace())
        self.simulator = self.workspace.simulator()
        self.set_up_redis()

    def started(self, name, down):
        return self.workspace.proxy(self.simulator.url, name=name, **self.sections(down))

    def sent(self, proxies):
        """Entries of calls that reached Bedrock."""
        return [e for proxy in proxies for e in proxy.entries() if e["outcome"] != "budget_refused"]

    def test_replicas_are_killed_at_random_moments_and_share_what_is_left_meanwhile(self):
        self.kill_in_trouble("local-share", KILLS * 3 // 10)

    def test_replicas_are_killed_at_random_moments_and_let_calls_pass_meanwhile(self):
        self.kill_in_trouble("allow", KILLS * 3 // 10)


@unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")
class OnOnePostgres(Kills, replicas.OnPostgres):
    """All have one ledger."""

    ledgers = 1

    @staticmethod
    def in_ledger_alone(entry):
        """Redis may have been emptied, and summed up, before the replica came back to settle it."""
        return counted(entry) if entry["usage_reason"] == "process_died" else USD(0)

    def setUp(self):
        super().setUp()
        self.set_up_redis()

    def started(self, name, down):
        return self.replica(name, self.sections(down))

    def sent(self, _):
        return [entry for entry in self.entries() if entry["outcome"] != "budget_refused"]

    def died(self):
        """Entries of calls that somebody else settled."""
        return [entry for entry in self.entries() if entry["usage_reason"] == "process_died"]

    def agree(self, epoch):
        """Redis says of each budget what rows of entries say, in the same epoch."""
        rows = self.sent(None)
        sums = {name: sum((counted(e) for e in rows if fnmatch(e["tenant"], budget.get("tenant", "*"))), USD(0))
                for name, budget in BUDGETS.items()}
        self.assertEqual(epoch, self.epoch(), "nothing was summed up again")
        return self.in_redis() == {name: (total, USD(0)) for name, total in sums.items()}

    def die_with_calls_in_flight(self, count, lease):
        """A replica whose calls the ledger knows as open."""
        gone = self.replica("two", self.sections("refuse"), lease=lease)
        until("it shares", lambda: gone.metric(shared.MODE, mode="shared") == 1)
        slow = "input=10,output=10,delay-head-ms=60000"

        def hang():
            with contextlib.suppress(OSError, http.client.HTTPException):
                call(gone, "wide", "converse", slow)
        for _ in range(count):
            threading.Thread(target=hang, daemon=True).start()
        until("its calls are told as open", lambda: self.count("open_calls") == count)
        gone.kill()

    def test_what_a_dead_replica_left_open_counts_as_its_entry_also_where_redis_was_emptied(self):
        stays = self.replica("one", self.sections("refuse"), lease="10s")
        until("it shares", lambda: stays.metric(shared.MODE, mode="shared") == 1)
        settled = 0
        for is_emptied, is_back in itertools.product((True, False), repeat=2):
            with self.subTest(is_emptied=is_emptied, is_back=is_back):
                self.assertEqual(200, call(stays, "wide", *SHAPES[0]))
                self.die_with_calls_in_flight(3, "5m" if is_back else "10s")
                if is_emptied:
                    self.redis.command("FLUSHALL")
                # Without them, before anybody settles them.
                until("it is summed up", self.is_summed_up)
                epoch = self.epoch()
                settled += 3
                back = self.replica("two", self.sections("refuse")) if is_back else None
                until("they are settled", lambda: len(self.died()) == settled)
                with contextlib.suppress(AssertionError):
                    until("Redis is told", lambda: self.agree(epoch))
                self.assertTrue(self.agree(epoch), f"{self.in_redis()}, {[counted(e) for e in self.sent(None)]}")
                if back:
                    self.assertEqual(0, back.terminate(), back.text())
        self.assertEqual(0, stays.terminate())

    def test_replicas_on_one_ledger_are_killed_at_random_moments(self):
        self.kill_in_trouble("local-share", KILLS * 4 // 10)
