"""Limits of rate, seen by real clients: the error they raise, how often they try, and that none comes
back before it was told to. The account's quota under overload: fair shares, and room for who was idle.

Attempts are taken from the proxy's own log and ledger, not from what a client says of itself.
"""

import collections
import concurrent.futures
import datetime
import itertools
import json
import shutil
import threading
import time
import unittest

import clients
from harness import MODEL, Workspace
from suite_compatibility import CLIENTS, run, tenant
from suite_shared_budgets import MODE, Redis, wait_for

# Those whose retry rules are our promise.
NAMES = ("boto3", "anthropic-python", "aws-sdk-js (HTTP/2)", "aws-sdk-js (HTTP/1.1)", "anthropic-bedrock-sdk",
         "aws-sdk-rust")
LOG = {"format": "json"}
CONVERSE = f"/model/{MODEL}/converse"
STREAM = f"/model/{MODEL}/converse-stream"
# Clocks print whole milliseconds.
ROUNDING_SECONDS = 0.002


def seconds(timestamp):
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def refusals(proxy, name):
    """What the log says of each refusal of a tenant: when, of which kind, and the hint in seconds."""
    found = []
    for line in proxy.text().splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        fields = event.get("fields", event)
        if fields.get("event") == "refused" and fields.get("tenant") == name:
            hint = fields.get("retry_after_ms")
            found.append((seconds(event["timestamp"]), fields["kind"], hint and hint / 1000))
    return found


def cases(client, proxy, count):
    operation = client.operations[0]
    url = f"{proxy.url}/tenant/{tenant(client, operation)}"
    return [{"client": client.name, "operation": operation, "model": MODEL, "ca": None, "url": url}] * count


def call(url, path, name, words="", body=None):
    """One call of a tenant without any SDK: status, headers."""
    headers = {"Content-Type": "application/json", "x-simulate": words}
    body = json.dumps(body or {"messages": clients.CONVERSE, "inferenceConfig": {"maxTokens": 90}}).encode()
    status, headers, _ = clients.exchange(url, "POST", f"/tenant/{name}{path}", headers, body)
    return status, headers


def owner(client):
    """The tenant that a client calls for here: each has limits of its own, so they go side by side."""
    return tenant(client, client.operations[0])


class Clients(unittest.TestCase):
    def each(self, act):
        """What `act` gives for each client, all at the same time."""
        wanted = [client for client in CLIENTS if client.name in NAMES]
        self.assertEqual(len(NAMES), len(wanted))
        with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
            acting = [(client, pool.submit(act, client)) for client in wanted]
            for client, acted in acting:
                with self.subTest(client=client.name):
                    yield client, acted.result()

    def test_a_each_client_waits_as_it_is_told_and_then_succeeds(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(verify=False)
            # One at once, then one in four seconds: below the five that AWS SDKs add at most.
            each = {"tenant": "*", "requests_per_minute": 15, "burst": "1s"}
            proxy = workspace.proxy(simulator.url, log=LOG, limits__each=each)
            two_calls = lambda client: run(client.program, cases(client, proxy, 2), attempts=None)
            for client, answers in self.each(two_calls):
                self.assertFalse([answer for answer in answers if "error" in answer], answers)
                entries = proxy.wait_for_entries(2, 10, tenant=owner(client), outcome="success")
                mine = refusals(proxy, owner(client))
                self.assertTrue(mine, "the second call came too late to be refused")
                self.assertEqual({"rate_limited"}, {kind for _, kind, _ in mine})
                self.hold_hints(mine, max(entry["opened_at"] for entry in entries) / 1000)

    def test_b_each_client_raises_its_throttling_error_after_three_attempts(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(verify=False)
            proxy = workspace.proxy(simulator.url, log=LOG, drain={"on_client_disconnect": "close"},
                                    limits__one={"tenant": "*", "concurrent_calls": 1, "owner": "#platform"})

            def meet_a_full_place(client):
                holder = clients.connect(proxy.url)
                headers = {"Host": "localhost", "Content-Type": "application/json",
                           "x-simulate": "frames=10,stall-after=2"}
                body = json.dumps({"messages": clients.CONVERSE}).encode()
                path = f"/tenant/{owner(client)}{STREAM}"
                holder.sendall(clients.request_bytes("POST", path, headers, body))
                self.assertTrue(holder.recv(100).startswith(b"HTTP/1.1 200"))
                (refused,) = run(client.program, cases(client, proxy, 1), attempts=None)
                # The place is free again once its call is gone.
                holder.close()
                proxy.wait_for_entries(1, 10, tenant=owner(client), outcome="client_left")
                (passed,) = run(client.program, cases(client, proxy, 1), attempts=None)
                return refused, passed

            for client, (refused, passed) in self.each(meet_a_full_place):
                self.assertEqual(client.throttled, refused.get("error"), refused)
                mine = refusals(proxy, owner(client))
                self.assertEqual(["concurrency_limited"] * 3, [kind for _, kind, _ in mine])
                self.hold_hints(mine)
                self.assertNotIn("error", passed)
            self.assertEqual(3 * len(NAMES),
                             proxy.metric("bedrock_meter_limit_refused_total", limit="one", mode="enforce"))

    def test_c_what_never_fits_is_said_once(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(verify=False)
            proxy = workspace.proxy(simulator.url, log=LOG, limits__small={"tokens_per_minute": 40})
            one_call = lambda client: run(client.program, cases(client, proxy, 1), attempts=None)
            for client, (answer,) in self.each(one_call):
                self.assertIn("error", answer)
                kinds = [kind for _, kind, _ in refusals(proxy, owner(client))]
                self.assertEqual(["limit_never_fits"], kinds)
            self.assertEqual([], simulator.served())

    def test_d_an_observed_limit_refuses_nobody_and_counts(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(verify=False)
            tried = {"tenant": "*", "requests_per_minute": 1, "mode": "observe"}
            proxy = workspace.proxy(simulator.url, limits__tried=tried)
            statuses = [call(proxy.url, CONVERSE, "search")[0] for _ in range(5)]
            self.assertEqual([200] * 5, statuses)
            self.assertEqual(4, proxy.metric("bedrock_meter_limit_refused_total", limit="tried", mode="observe"))
            self.assertEqual(0, proxy.metric("bedrock_meter_refused_total"))

    def hold_hints(self, mine, served=None):
        """Whoever was refused did not come back before its time; later is its own affair."""
        came = [at for at, _, _ in mine[1:]] + ([served] if served else [])
        for (at, _, hint), again in zip(mine, came):
            self.assertGreaterEqual(again - at, hint - ROUNDING_SECONDS)


class Overload(unittest.TestCase):
    """A quota of 1,000 tokens a second; each call uses 100. Two tenants ask for it all, each."""

    QUOTA = 1_000
    USED = 100
    SECONDS = 12
    THREADS = 8

    def press(self, proxies, name, until, admitted):
        """Calls again and again, and waits as it is told where it is refused."""
        for proxy in itertools.cycle(proxies):
            if time.monotonic() >= until:
                return
            status, headers = call(proxy.url, CONVERSE, name, "input=50,output=50")
            if status == 200:
                admitted[name] += 1
                # Eight callers of this pace ask for the whole quota.
                time.sleep(0.7)
            else:
                self.assertEqual("account_quota", headers["x-bedrock-meter-error"])
                time.sleep(int(headers["retry-after-ms"]) / 1000)

    def overload(self, proxies, simulator):
        """Two tenants press on proxies that together have one quota; a third one comes in the middle."""
        begun = time.monotonic()
        until = begun + self.SECONDS
        admitted = collections.Counter()
        late = {}

        def come_late():
            time.sleep(self.SECONDS / 2)
            came = time.monotonic()
            late["status"], _ = call(proxies[-1].url, CONVERSE, "idle", "input=50,output=50")
            late["seconds"] = time.monotonic() - came

        with concurrent.futures.ThreadPoolExecutor(2 * self.THREADS) as pool:
            idle = threading.Thread(target=come_late)
            idle.start()
            # Half of the callers begin with one proxy, half with the other.
            pressing = [pool.submit(self.press, proxies[turn % len(proxies):] + proxies[:turn % len(proxies)], name,
                                    until, admitted)
                        for name in ("left", "right") for turn in range(self.THREADS)]
            for one in pressing:
                one.result()
            idle.join()
        took = time.monotonic() - begun
        total = admitted["left"] + admitted["right"]
        print(f"    left {admitted['left']}, right {admitted['right']} of {total} in {took:.1f} s; "
              f"idle {late['status']} after {late['seconds']:.2f} s")
        for name in ("left", "right"):
            self.assertTrue(0.45 <= admitted[name] / total <= 0.55, admitted)
        # Served at its first attempt, not told to come back.
        self.assertEqual(200, late["status"])
        served = len(simulator.served())
        self.assertLessEqual(served * self.USED, self.QUOTA * took + 2 * self.QUOTA)
        for proxy in proxies:
            self.assertGreater(proxy.metric("bedrock_meter_limit_refused_total", limit="account.claude"), 0)

    def test_equal_tenants_share_a_quota_and_an_idle_one_is_served_at_once(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(verify=False)
            quota = {"model": "*claude*", "tokens_per_minute": 60 * self.QUOTA, "burst": "2s"}
            self.overload([workspace.proxy(simulator.url, limits__account__claude=quota)], simulator)

    @unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")
    def test_two_replicas_share_a_quota_between_equal_tenants_and_an_idle_one(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(verify=False)
            redis = Redis(workspace.path)
            self.addCleanup(redis.kill)
            quota = {"model": "*claude*", "tokens_per_minute": 60 * self.QUOTA, "burst": "2s"}
            store = {"redis_url": redis.url, "timeout": "5s"}
            proxies = [workspace.proxy(simulator.url, name=name, budget_store=store, limits__account__claude=quota)
                       for name in ("one", "two")]
            for proxy in proxies:
                self.assertTrue(wait_for(lambda proxy=proxy: proxy.metric(MODE, mode="shared") == 1))
            self.overload(proxies, simulator)


if __name__ == "__main__":
    unittest.main()
