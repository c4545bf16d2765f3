"""Two proxies share a limit on calls at once through a real Redis: together they never have more calls
open, and every place comes back, whatever happens to one of them or to Redis.

What is open is counted by those who hold it open, and by a turnstile before Bedrock.
"""

import concurrent.futures
import signal
import time

import clients
import suite_shared_budgets as shared
from harness import MODEL
from suite_budgets import body, call
from suite_shared_budgets import wait_for
from turnstile import Turnstile

STREAM = "frames=8,frame-delay-ms=10,input=5,output=5"
CLOSE = {"on_client_disconnect": "close"}


class Holder:
    """A call that stays open until it is closed, if it is let in."""

    def __init__(self, proxy):
        self.socket = clients.connect(proxy.url)
        headers = {"Host": "localhost", "Content-Type": "application/json", "x-bedrock-meter-tenant": "team",
                   "x-simulate": "frames=10,stall-after=2"}
        self.socket.sendall(clients.request_bytes("POST", f"/model/{MODEL}/converse-stream", headers, body(10)))
        self.head = b""
        while b"\r\n\r\n" not in self.head and (more := self.socket.recv(4_096)):
            self.head += more

    @property
    def status(self):
        return int(self.head.split()[1])

    @property
    def refusal(self):
        lines = self.head.decode("latin-1").lower().splitlines()
        found = [line.split(": ")[1] for line in lines if line.startswith("x-bedrock-meter-error")]
        return found[0] if found else None

    def close(self):
        self.socket.close()


class SharedPlaces(shared.Shared):
    def pair(self, most, store=None, down="local-share"):
        proxies = self.replicas(store, down, drain=CLOSE, limits__all={"concurrent_calls": most})
        for proxy in proxies:
            self.assertTrue(self.mode(proxy, "shared"))
        return proxies

    def fill(self, proxies, most):
        """Opens calls at these proxies in turn until one is refused: those that are open."""
        held = []
        while True:
            holder = Holder(proxies[len(held) % len(proxies)])
            self.addCleanup(holder.close)
            if holder.status != 200:
                self.assertEqual((429, "concurrency_limited"), (holder.status, holder.refusal))
                holder.close()
                return held
            held.append(holder)
            self.assertLessEqual(len(held), most, "more calls are open than there are places")

    def close(self, held):
        for holder in held:
            holder.close()

    def comes_back(self, proxies, most):
        """Waits until all places are free; they are never more."""
        def are_all_free():
            held = self.fill(proxies, most)
            self.close(held)
            return len(held) == most

        self.assertTrue(wait_for(are_all_free, 60))

    def test_never_more_calls_are_open_than_there_are_places(self):
        turnstile = Turnstile(self.simulator.url)
        self.addCleanup(turnstile.close)
        self.upstream = turnstile.url
        proxies = self.pair(3)
        kinds = set()

        def caller(number):
            passed = 0
            while passed < 6:
                status, headers, _ = call(proxies[number % 2], "team", 10, STREAM, "converse-stream")
                if status == 200:
                    passed += 1
                else:
                    kinds.add((status, headers.get("x-bedrock-meter-error")))
                    time.sleep(0.02)

        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            list(threads.map(caller, range(12)))
        self.assertEqual(72, len(self.simulator.served()))
        self.assertEqual({(429, "concurrency_limited")}, kinds)
        self.assertLessEqual(turnstile.peak, 3)
        print(f"\n    12 callers, 3 places: {turnstile.peak} calls at once")
        self.assertEqual([0, 0], [proxy.terminate() for proxy in proxies])

    def test_both_replicas_fill_one_number_and_every_end_gives_back(self):
        proxies = self.pair(4)
        held = self.fill(proxies, 4)
        self.assertEqual(4, len(held))
        for proxy in proxies:
            self.assertEqual([], self.fill([proxy], 0))
        # Half of them leave; then one call ends well, and one with an error.
        self.close(held[:2])
        self.assertTrue(wait_for(lambda: call(proxies[0], "team", 10)[0] == 200))
        self.assertTrue(wait_for(lambda: call(proxies[1], "team", 10, "status=500:InternalServerException")[0] == 500))
        self.close(held)
        self.comes_back(proxies, 4)

    def test_places_of_a_killed_replica_come_back_after_its_lease(self):
        lost, alive = self.pair(2)
        self.assertEqual(2, len(self.fill([lost], 2)))
        self.assertEqual([], self.fill([alive], 0))
        lost.kill()
        held = self.fill([alive], 2)
        # Not before it is known to be gone.
        self.assertTrue(not held or wait_for(lambda: "budget_lease_expired" in alive.text()))
        self.close(held)
        self.comes_back([alive], 2)
        self.assertTrue(wait_for(lambda: "budget_lease_expired" in alive.text()))

    def test_what_redis_forgets_is_told_anew(self):
        proxies = self.pair(3)
        held = self.fill(proxies, 3)
        self.assertEqual(3, len(held))
        self.redis.command("FLUSHALL")
        for proxy in proxies:
            self.assertEqual([], self.fill([proxy], 0))
        self.redis.kill()
        self.redis.start()
        for proxy in proxies:
            self.assertTrue(self.mode(proxy, "shared"))
            self.assertEqual([], self.fill([proxy], 0))
        self.close(held)
        self.comes_back(proxies, 3)

    def test_each_mode_while_redis_stands_still(self):
        for down in ("refuse", "allow", "local-share"):
            with self.subTest(down):
                proxies = self.pair(4, {"deployment": down, "timeout": "2s"}, down)
                held = [Holder(proxies[0])]
                self.assertEqual(200, held[0].status)
                self.redis.signal(signal.SIGSTOP)
                try:
                    held += self.lets_in(proxies, down)
                finally:
                    self.redis.signal(signal.SIGCONT)
                for proxy in proxies:
                    self.assertTrue(self.mode(proxy, "shared"))
                # What is open counts, however it was let in.
                left = max(0, 4 - len(held))
                more = self.fill(proxies, left)
                self.assertEqual(left, len(more))
                self.close(held + more)
                self.comes_back(proxies, 4)
                for proxy in proxies:
                    self.assertEqual(0, proxy.terminate(), proxy.text())

    def lets_in(self, proxies, down):
        """What is open when each replica was asked for more than its part; one has a call open."""
        if down == "refuse":
            answers = [Holder(proxy) for proxy in proxies]
            self.assertEqual([(503, "budget_store_unavailable")] * 2, [(a.status, a.refusal) for a in answers])
            return []
        if down == "allow":
            held = [Holder(proxies[turn % 2]) for turn in range(6)]
            self.assertEqual([200] * 6, [holder.status for holder in held])
            return held
        parts = [self.fill([proxy], 2) for proxy in proxies]
        self.assertEqual([1, 2], [len(part) for part in parts])
        return sum(parts, [])
