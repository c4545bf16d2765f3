"""Budgets hold: no limit is passed by calls at the same moment, a crash forgets nothing, and every
SDK raises the right class after one attempt.
"""

import concurrent.futures
import decimal
import http.client
import json
import random
import re
import threading
import time
import unittest

import clients
from clients import CONVERSE
from harness import MODEL, Workspace
from suite_callers import PROVEN
from suite_compatibility import CLIENTS, run

# How each client names a 400 ServiceQuotaExceededException.
ERRORS = {
    "aws-cli": "CliError", "anthropic-python": "BadRequestError", "litellm": "BadRequestError",
    "ai-sdk": "AI_APICallError", "anthropic-bedrock-sdk": "BadRequestError",
}
USD = decimal.Decimal
REFUSAL = re.compile(
    r"budget (\S+) of tenant=(\S+) has no room for this call: limit \$([\d.]+) a day, spent \$([\d.]+), "
    r"held for calls in flight \$([\d.]+), this call at most \$([\d.]+);")
THREADS = 64
CALLS = 2_000
TEAMS = 50


def body(max_tokens):
    return json.dumps({"messages": CONVERSE, "inferenceConfig": {"maxTokens": max_tokens}}).encode()


def call(proxy, tenant, max_tokens, script="input=100,output=10", operation="converse"):
    """One call: status, headers, body."""
    headers = {"content-type": "application/json", "x-bedrock-meter-tenant": tenant, "x-simulate": script}
    return clients.exchange(proxy.url, "POST", f"/model/{MODEL}/{operation}", headers, body(max_tokens))


def counted(entry):
    """What budgets count of an entry, by the words of docs/budgets.md."""
    cost = USD(entry["cost_microusd"] or 0) / 10**6 + USD(entry["cost_femtousd"] or 0) / 10**15
    held = USD(entry["reserved_microusd"] or 0) / 10**6
    known = entry["usage_source"] == "reported" and entry["price_status"] != "unpriced"
    return cost if known else max(cost, held)


class Refused(unittest.TestCase):
    """A refusal, as SDKs meet it."""

    def test_every_sdk_raises_the_right_class_after_one_attempt(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(
                simulator.url, identity=PROVEN,
                budgets__poor={"tenant": "poor", "limit_usd": "0.000001", "action": "block",
                               "owner": "finops@example.org"})
            key = proxy.issue("poor")
            proxy.wait_for_callers()
            asked = 0
            for program in ("python", "js", "rust"):
                wanted = [client for client in CLIENTS if client.program == program]
                cases = [{"client": client.name, "operation": client.operations[0], "model": MODEL, "ca": None,
                          "url": proxy.url, "key": key} for client in wanted]
                answers = run(program, cases, attempts=None)
                asked += len(wanted)
                for client, answer in zip(wanted, answers):
                    with self.subTest(client=client.name):
                        expected = ERRORS.get(client.name, "ServiceQuotaExceededException")
                        self.assertEqual(expected, answer.get("error"), answer)
                        if "message" in answer:
                            self.assertIn("budget poor of tenant=poor has no room", answer["message"], answer)
            with self.subTest("one attempt of each, and none reached Bedrock"):
                self.assertEqual(asked, proxy.metric("bedrock_meter_refused_total", reason="budget_exhausted"))
                self.assertEqual([], simulator.served())
                entries = proxy.wait_for_entries(asked, 10, outcome="budget_refused")
                self.assertEqual({0}, {entry["cost_microusd"] for entry in entries})


class Together(unittest.TestCase):
    """Many callers at the same moment."""

    def test_no_limit_is_passed_and_every_refused_call_did_not_fit(self):
        seed = random.randrange(1 << 32)
        draw = random.Random(seed)
        limits = {f"t{n}": USD(draw.randrange(5_000, 600_000)) / 10**6 for n in range(TEAMS)}
        budgets = {f"budgets__{name}": {"tenant": name, "limit_usd": str(limit), "period": "day", "action": "block"}
                   for name, limit in limits.items()}
        plan = [(draw.choice(list(limits)), draw.choice((50, 500, 4_000)), draw.choice((10, 50)))
                for _ in range(CALLS)]
        with Workspace() as workspace, self.subTest(seed=seed):
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, **budgets)

            def one(item):
                tenant, max_tokens, output = item
                script = f"input=100,output={output},delay-head-ms={draw.randrange(40)}"
                status, headers, text = call(proxy, tenant, max_tokens, script)
                return tenant, status, headers, text

            with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
                answers = list(threads.map(one, plan))
            passed = [answer for answer in answers if answer[1] == 200]
            refused = [answer for answer in answers if answer[1] == 400]
            self.assertEqual(CALLS, len(passed) + len(refused))
            self.assertGreater(len(passed), 100)
            self.assertGreater(len(refused), 100)
            self.assertEqual(len(passed), len(simulator.served()))
            for tenant, _, headers, text in refused:
                self.assertEqual("budget_exhausted", headers["x-bedrock-meter-error"])
                said = REFUSAL.search(json.loads(text)["message"])
                self.assertIsNotNone(said, text)
                limit, spent, held, most = map(USD, said.groups()[2:])
                self.assertEqual((tenant, tenant), said.groups()[:2])
                self.assertEqual(limits[tenant], limit)
                self.assertGreater(spent + held + most, limit, text)
                self.assertLessEqual(spent + held, limit, text)
            entries = proxy.wait_for_entries(CALLS, 20)
            self.assertEqual(CALLS, len(entries))
            for tenant, limit in limits.items():
                spent = sum(counted(entry) for entry in entries if entry["tenant"] == tenant)
                self.assertLessEqual(spent, limit, tenant)


class Crash(unittest.TestCase):
    """kill -9 under load: what is spent after the restart is what the ledger says."""

    KILLS = 4

    def test_a_restart_counts_what_was_spent_and_what_was_in_flight(self):
        limit = USD("3")
        budget = {"limit_usd": str(limit), "period": "day", "action": "block"}
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, budgets__all=budget)
            for _ in range(self.KILLS):
                stop = threading.Event()

                def load(stop=stop, proxy=proxy):
                    while not stop.is_set():
                        try:
                            call(proxy, "team", 500, "input=200,output=20,frames=20,frame-delay-ms=5", "converse-stream")
                        except (OSError, http.client.HTTPException):
                            return

                threads = [threading.Thread(target=load) for _ in range(6)]
                for thread in threads:
                    thread.start()
                time.sleep(random.uniform(0.3, 0.8))
                proxy.kill()
                stop.set()
                for thread in threads:
                    thread.join()
                proxy = workspace.proxy(simulator.url, budgets__all=budget)
                entries = proxy.entries()
                served = len(simulator.served())
                self.assertGreaterEqual(len(entries), served)
                before = sum(counted(entry) for entry in entries)
                lost = [entry for entry in entries if entry["usage_reason"] == "process_died"]
                for entry in lost:
                    self.assertIsNotNone(entry["reserved_microusd"])
                status, headers, text = call(proxy, "team", 100)
                self.assertEqual(200, status, text)
                (entry,) = proxy.wait_for_entries(1, 10, call_id=headers["x-bedrock-meter-call-id"])
                left = limit - before - USD(entry["reserved_microusd"]) / 10**6
                self.assertEqual(left, USD(headers["x-bedrock-meter-budget-remaining-usd"]))


class Ways(unittest.TestCase):
    """What happens at the limit, as configured."""

    def test_observed_limits_refuse_nobody_and_count(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(
                simulator.url, budgets__all={"limit_usd": "0", "action": "block", "mode": "observe"})
            self.assertEqual(200, call(proxy, "team", 10)[0])
            observed = proxy.metric("bedrock_meter_observed_refusals_total", reason="budget_exhausted", tenant="team")
            self.assertEqual(1, observed)

    def test_a_downgraded_call_is_billed_as_what_it_became(self):
        haiku = "anthropic.claude-3-haiku-20240307-v1:0"
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(
                simulator.url, budgets__all={"model": "anthropic.claude-3-5-*", "limit_usd": "0",
                                             "action": "downgrade", "downgrade_model": haiku})
            client = clients.boto3_client(proxy.url + "/tenant/team")
            answer = client.converse(modelId=MODEL, messages=CONVERSE)
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            self.assertEqual(MODEL, headers["x-bedrock-meter-downgraded-from"])
            (entry,) = proxy.wait_for_entries(1, 10)
            self.assertEqual((haiku, MODEL), (entry["model"], entry["downgraded_from"]))
            self.assertEqual(answer["usage"]["outputTokens"], entry["output_tokens"])
            (served,) = simulator.served()
            self.assertEqual(haiku, served["model_id"])
            # 0.25 and 1.25 dollars a million.
            cost = USD(entry["input_tokens"]) * 250 + USD(entry["output_tokens"]) * 1250
            self.assertEqual(cost / 10**9, counted(entry))


if __name__ == "__main__":
    unittest.main()
