"""Callers about themselves: `/me` and their own calls, for every proof; nothing of another tenant.

What they are told is held against the ledger, the admin API and `budgets show`.
"""

import datetime
import json
import unittest
from decimal import Decimal

import clients
from harness import MODEL, Workspace, run

BODY = json.dumps({"messages": clients.CONVERSE}).encode()
ME = "/bedrock-meter/v1/me"
BUDGETS = {
    "limits__everybody": {"requests_per_minute": 100000},
    "limits__of-sales": {"tenant": "sales", "concurrent_calls": 500, "owner": "ops"},
    "budgets__all": {"limit_usd": "1000"},
    "budgets__everybodys-models": {"limit_usd": "500", "model": "*"},
    "budgets__keys": {"limit_usd": "30", "tenant": "*", "key": "*", "action": "block"},
    "budgets__models": {"limit_usd": "50", "tenant": "*", "model": "*"},
    "budgets__sales": {"limit_usd": "70", "tenant": "sales"},
    "budgets__teams": {"limit_usd": "20", "tenant": "*", "period": "day", "action": "block",
                       "thresholds": [50, 90], "owner": "finops@example.org"},
}


class Myself(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.simulator = cls.workspace.simulator()
        cls.proxy = cls.workspace.proxy(cls.simulator.url, identity={"mode": "proven"}, **BUDGETS)
        cls.key = cls.proxy.issue("science", "--application", "lab")
        cls.token = cls.proxy.issue("sales", kind="token")
        cls.proxy.wait_for_callers()
        cls.calls = {
            "science": [cls.exchange("POST", f"/model/{MODEL}/converse", key=cls.key) for _ in range(2)],
            "sales": [cls.exchange("POST", f"/model/{MODEL}/converse", token=cls.token,
                                   headers={"x-bedrock-meter-user": "ann", "x-bedrock-meter-session": "s-1"})],
        }
        cls.entries = cls.proxy.wait_for_entries(3, 30)

    @classmethod
    def exchange(cls, method, path, key=None, token=None, headers=None, body=None):
        body = (BODY if method == "POST" else b"") if body is None else body
        headers = {**({"content-type": "application/json"} if body else {}), **(headers or {})}
        if token:
            headers |= {"Authorization": f"Bearer {token}"}
        elif key:
            headers = clients.signed(method, cls.proxy.url + path, headers, body, key=key)
        return clients.exchange(cls.proxy.url, method, path, headers, body)

    def me(self, **proof):
        status, headers, body = self.exchange("GET", ME, **proof)
        self.assertEqual((200, "application/json", "no-store"),
                         (status, headers["content-type"], headers["cache-control"]), body)
        return json.loads(body)

    def cost(self, tenant):
        return sum(Decimal(one["cost_microusd"]) / 10**6 + Decimal(one["cost_femtousd"]) / 10**15
                   for one in self.entries if one["tenant"] == tenant)

    def test_each_proof_sees_the_counters_of_its_own_calls(self):
        for tenant, proof, means in ("science", {"key": self.key}, "signature"), ("sales", {"token": self.token}, "token"):
            with self.subTest(tenant):
                said = self.me(**proof)
                self.assertEqual((tenant, means), (said["tenant"], said["proven_by"]))
                spent = {(one["budget"], one["subject"]): one["spent_usd"] for one in said["budgets"]}
                own, every = self.cost(tenant), self.cost("science") + self.cost("sales")
                self.assertGreater(own, 0)
                expected = {
                    ("all", ""): every,
                    ("everybodys-models", "model=*"): None,
                    ("keys", f"tenant={tenant} key={said['key']}"): own,
                    ("models", f"tenant={tenant} model={MODEL}"): own,
                    ("models", f"tenant={tenant} model=*"): None,
                    ("teams", f"tenant={tenant}"): own,
                }
                if tenant == "sales":
                    expected["sales", "tenant=sales"] = own
                self.assertEqual(expected, {k: v if v is None else Decimal(v) for k, v in spent.items()})
                limits = {one["limit"]: one["concurrent_calls"] for one in said["limits"]}
                self.assertEqual({"everybody": None} | ({"of-sales": 500} if tenant == "sales" else {}), limits)
                [team] = [one for one in said["budgets"] if one["budget"] == "teams"]
                self.assertEqual(("block", "enforce", [50, 90], "finops@example.org", "20", "0"), tuple(
                    team[name] for name in ("action", "mode", "thresholds", "owner", "limit_usd", "held_usd")))
                self.assertEqual(20 - own, Decimal(team["remaining_usd"]))
                self.assertEqual(86_400_000, self.milliseconds(team["ends"]) - self.milliseconds(team["begins"]))

    @staticmethod
    def milliseconds(text):
        return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)

    def test_nothing_of_another_tenant_is_told(self):
        for name, proof, other in (("science", {"key": self.key}, "sales"), ("sales", {"token": self.token}, "science")):
            text = json.dumps(self.me(**proof))
            self.assertNotIn(other, text)
            # Saying another name beside the proof changes nothing, or is refused.
            status, _, body = self.exchange("GET", ME, headers={"x-bedrock-meter-tenant": other}, **proof)
            self.assertEqual(400, status, body)

    def test_a_call_is_shown_to_its_own_tenant_and_unknown_to_others(self):
        call_id = self.calls["science"][0][1]["x-bedrock-meter-call-id"]
        path = f"/bedrock-meter/v1/calls/{call_id}"
        status, _, body = self.exchange("GET", path, key=self.key)
        self.assertEqual(200, status, body)
        explained = json.loads(run("explain", call_id, "--format", "json", "--ledger", self.proxy.ledger)[1])
        self.assertEqual(explained, json.loads(body))
        absent = "/bedrock-meter/v1/calls/0190a5a0-0000-7000-8000-000000000000"
        answers = [self.exchange("GET", at, token=self.token) for at in (path, absent, path[:-1] + "/x")]
        for status, headers, body in answers:
            self.assertEqual((404, "call_unknown", "ResourceNotFoundException"),
                             (status, headers["x-bedrock-meter-error"], headers["x-amzn-errortype"]))
            self.assertEqual(json.loads(answers[0][2])["message"], json.loads(body)["message"])

    def test_people_of_the_same_tenant_are_hidden_from_each_other(self):
        path = "/bedrock-meter/v1/calls/" + self.calls["sales"][0][1]["x-bedrock-meter-call-id"]
        [entry] = [one for one in self.entries if one["tenant"] == "sales"]
        for headers, user, session in (
            ({}, None, None),
            ({"x-bedrock-meter-user": "bob"}, None, None),
            ({"x-bedrock-meter-user": "ann"}, entry["user"], "s-1"),
            ({"x-bedrock-meter-session": "s-1"}, None, "s-1"),
        ):
            with self.subTest(headers):
                caller = json.loads(self.exchange("GET", path, token=self.token, headers=headers)[2])["caller"]
                self.assertEqual((user, session), (caller["user"], caller["session"]))

    def test_whoever_proves_nothing_is_told_nothing(self):
        for path in (ME, "/bedrock-meter/v1/calls/x"):
            status, headers, _ = self.exchange("GET", path)
            self.assertEqual((403, "credentials_missing"), (status, headers["x-bedrock-meter-error"]))
            status, headers, _ = self.exchange("GET", path, key=(self.key[0], "x" * 40))
            self.assertEqual((403, "invalid_signature"), (status, headers["x-bedrock-meter-error"]))
        status, _, _ = self.exchange("POST", ME, key=self.key)
        self.assertEqual(404, status)

    def test_the_admin_api_and_the_command_say_the_same(self):
        listed = json.loads(run("budgets", "show", "--server", self.proxy.admin, "--format", "json")[1])["budgets"]
        counters = {(one["budget"], one["subject"]): one for one in listed}
        for proof in {"key": self.key}, {"token": self.token}:
            for one in self.me(**proof)["budgets"]:
                if one["spent_usd"] is not None:
                    self.assertEqual(counters[one["budget"], one["subject"]], one)
        # Without the server: what the ledger says, and nothing of what is held.
        code, text = run("budgets", "show", "--config", self.proxy.config, "--format", "json")
        spent = {(one["budget"], one["subject"]): (one["spent_usd"], one["held_usd"]) for one in json.loads(text)["budgets"]}
        self.assertEqual(0, code)
        self.assertEqual({key: (one["spent_usd"], None) for key, one in counters.items()}, spent)
        code, text = run("budgets", "show", "--server", self.proxy.admin)
        self.assertIn("tenant=science", text)

    def test_a_plan_against_the_server_says_what_changes(self):
        new = self.workspace.path / "new.toml"
        new.write_text('[budgets.teams]\ntenant = "*"\nperiod = "day"\nlimit_usd = "0.000001"\naction = "block"\n')
        code, text = run("budgets", "plan", "--config", new, "--server", self.proxy.admin, "--since", "1d",
                         "--ledger", self.proxy.ledger)
        self.assertEqual(0, code, text)
        self.assertIn("~ budget teams: limit_usd 20 -> 0.000001\n", text)
        self.assertIn("- budget sales\n", text)
        self.assertIn("Of 3 calls", text)
        self.assertIn("would have blocked tenant=science on", text)
        self.assertIn(": 2 calls, $", text)


class Trusted(unittest.TestCase):
    def test_a_trusted_network_names_whom_it_asks_for(self):
        with Workspace() as workspace:
            proxy = workspace.proxy(workspace.simulator().url, **BUDGETS)
            said = {}
            for tenant in ("science", "sales"):
                headers = {"x-bedrock-meter-tenant": tenant}
                status, _, body = clients.exchange(proxy.url, "GET", ME, headers)
                self.assertEqual(200, status, body)
                said[tenant] = json.loads(body)
                self.assertEqual((tenant, None), (said[tenant]["tenant"], said[tenant]["proven_by"]))
            names = {tenant: [one["budget"] for one in me["budgets"]] for tenant, me in said.items()}
            self.assertEqual(["all", "everybodys-models", "models", "teams"], names["science"])
            self.assertEqual(["all", "everybodys-models", "models", "sales", "teams"], names["sales"])
