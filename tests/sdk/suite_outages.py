"""PostgreSQL away, under load: stopped, crashed, frozen, cut off, its answers lost; and replicas killed
at random moments of that. `suite_store` does the same to a ledger in a file.

After each: no call that the simulator served is missing, none is there twice, and where usage was
reported, tokens and dollars are those of the simulator's own list and of an independent bill.

`BEDROCK_METER_KILLS` and `BEDROCK_METER_SEED` are those of `suite_store`.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import random
import signal
import subprocess
import time

import replicas
import suite_store
from suite_replicas import Load
from suite_store import KILLS, SEED, until, waiting
from wire import Wire

NAMES = ("one", "two", "three", "four")


class Outages(replicas.OnPostgres):
    def setUp(self):
        super().setUp()
        self.wire = Wire(self.server.port)
        self.addCleanup(self.wire.close)

    def url(self, user):
        """Replicas reach the server by the wire."""
        url = super().url(user)
        return url.replace(f":{self.server.port}/", f":{self.wire.port}/") if user == "meter_writer" else url

    @contextlib.contextmanager
    def stopped(self, how=signal.SIGINT):
        self.server.stop(how)
        try:
            yield
        finally:
            self.server.start()

    def crashed(self):
        """What `pg_ctl stop -m immediate` does."""
        return self.stopped(signal.SIGQUIT)

    @contextlib.contextmanager
    def frozen(self):
        self.server.freeze()
        try:
            yield
        finally:
            self.server.thaw()

    def ways(self):
        """Ways to be away, by name."""
        return {"stopped": self.stopped, "crashed": self.crashed, "frozen": self.frozen,
                "cut off": self.wire.cut, "answers lost": self.wire.losing_answers}

    def end(self, proxies, load):
        """Stops the replicas and judges what is in their ledger."""
        with self.subTest("each stops by itself"):
            self.assertEqual([0] * len(proxies), [proxy.terminate() for proxy in proxies])
        with self.subTest("nothing is left in a spill"):
            self.assertEqual([], [file for p in proxies for file in (p.ledger / "spill").iterdir()])
        with self.subTest("nothing is left open, and nobody is taken for alive"):
            self.assertEqual((0, 0), (self.count("open_calls"), self.count("replicas")))
        served, found = self.simulator.served(), self.entries()
        sources = collections.Counter(entry["usage_source"] for entry in found)
        print(f"\n    {len(served)} calls served, {len(found)} entries {dict(sources)}, "
              f"answers {dict(load.sent)}")
        suite_store.Store.judge(self, served, found)
        return served, found

    def test_a_server_that_is_away_in_any_way_fails_no_call_and_costs_no_entry(self):
        draw = random.Random(SEED)
        proxies = [self.replica(name) for name in NAMES[:2]]
        ways = 2 * list(self.ways().items())
        draw.shuffle(ways)
        with Load(draw.random(), proxies) as load:
            for name, away in ways:
                self.wait_for_more_entries()
                with self.subTest(away=name), away():
                    for proxy in proxies:
                        until("the spill", lambda proxy=proxy: waiting(proxy))
                    time.sleep(draw.uniform(0.0, 2.0))
            self.wait_for_more_entries()
        for proxy in proxies:
            until("an empty spill", lambda proxy=proxy: waiting(proxy) == 0)
        with self.subTest("no call failed"):
            self.assertEqual({200}, set(load.sent))
        served, found = self.end(proxies, load)
        with self.subTest("no call more, and none is an estimate"):
            self.assertEqual(len(served), len(found))
            self.assertEqual({"reported"}, {entry["usage_source"] for entry in found})

    def test_replicas_killed_at_random_moments_also_while_the_server_is_away(self):
        print(f"\n    {KILLS} kills, seed {SEED}")
        draw = random.Random(SEED)
        proxies = {name: self.replica(name) for name in NAMES}
        ways = itertools.cycle((*self.ways().values(), contextlib.nullcontext))
        kills = 0
        with Load(draw.random(), proxies.values()) as load:
            while kills < KILLS:
                away = next(ways)
                # One stays, another one each time.
                dying = draw.sample(NAMES, min(len(NAMES) - 1, KILLS - kills))
                self.wait_for_more_entries(20)
                with away():
                    if away is not contextlib.nullcontext:
                        until("a spill", lambda: any(waiting(proxy) for proxy in proxies.values()))
                    for name in dying:
                        time.sleep(draw.uniform(0.0, 0.4))
                        proxies[name].kill()
                        load.proxies = [p for p in proxies.values() if p.process.poll() is None]
                    self.start_in_vain(proxies[dying[0]], draw)
                kills += len(dying)
                self.start_in_vain(proxies[dying[-1]], draw)
                with concurrent.futures.ThreadPoolExecutor(len(dying)) as threads:
                    proxies |= zip(dying, threads.map(self.replica, dying))
                load.proxies = list(proxies.values())
            self.wait_for_more_entries(20)
        with self.subTest("calls broke with their replica and failed in no other way"):
            self.assertLessEqual(set(load.sent), {200, "broken"})
        _, found = self.end(list(proxies.values()), load)
        with self.subTest("what was in the spill was settled"):
            sources = collections.Counter(entry["usage_source"] for entry in found)
            self.assertGreater(sources["reported"], sources["estimated"])

    @staticmethod
    def start_in_vain(proxy, draw):
        """A start that is itself killed, maybe in the middle of bringing in the spill."""
        impatient = subprocess.Popen(
            proxy.process.args, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(0.0, 0.5))
        impatient.kill()
        impatient.wait()
