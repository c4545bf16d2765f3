"""Who may name a tenant, and which configurations may listen to the world."""

import json
import os
import unittest
import unittest.mock

import clients
from harness import MODEL, ROOT, Workspace, run

TENANT = {"x-bedrock-meter-tenant": "research"}
PATH = f"/model/{MODEL}/converse"
BODY = json.dumps({"messages": clients.CONVERSE}).encode()
BAD_CONFIGURATION = 78


def call(proxy, headers, path=PATH):
    """A call of a client that does not sign: what counts is its address."""
    headers = {"content-type": "application/json", **headers}
    return clients.exchange(proxy.url, "POST", path, headers, BODY)


class Callers(unittest.TestCase):
    def hold(self, identity, listener, rows):
        """Each row: name, headers, path, expected status."""
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=identity, listener=listener)
            refused = 0
            for name, headers, path, expected in rows:
                with self.subTest(name):
                    status, answer, body = call(proxy, headers, path)
                    self.assertEqual(expected, status, body)
                    if expected == 403:
                        refused += 1
                        self.assertTrue(json.loads(body)["message"].startswith("bedrock-meter:"))
                        self.assertIn("x-bedrock-meter-error", answer)
                        self.assertIn("Exception", answer["x-amzn-errortype"])
            served = sum(expected == 200 for *_, expected in rows)
            with self.subTest("refusals are counted and never reach Bedrock"):
                self.assertEqual(refused, proxy.metric("bedrock_meter_refused_total"))
                self.assertEqual(served, len(simulator.served()))
                self.assertEqual(served, len(proxy.wait_for_entries(served, 5)))

    def test_a_caller_outside_the_trusted_networks_may_not_name_a_tenant(self):
        self.hold(
            {"trusted_networks": ["10.0.0.0/8"]},
            {},
            [
                ("by header", TENANT, PATH, 403),
                ("by base path", {}, "/tenant/research" + PATH, 403),
                ("with a forged hop", {**TENANT, "x-forwarded-for": "10.1.2.3"}, PATH, 403),
            ],
        )

    def test_behind_a_trusted_proxy_the_last_untrusted_hop_counts(self):
        self.hold(
            {"trusted_networks": ["10.0.0.0/8"]},
            {"trusted_proxies": ["127.0.0.1/32"]},
            [
                ("trusted hop", {**TENANT, "x-forwarded-for": "10.1.2.3"}, PATH, 200),
                ("untrusted hop", {**TENANT, "x-forwarded-for": "203.0.113.9"}, PATH, 403),
                ("the client wrote the first hop itself",
                 {**TENANT, "x-forwarded-for": "10.1.2.3, 203.0.113.9"}, PATH, 403),
                ("trusted hop after a proxy of ours",
                 {**TENANT, "x-forwarded-for": "203.0.113.9, 10.1.2.3, 127.0.0.1"}, PATH, 200),
                ("by base path", {"x-forwarded-for": "203.0.113.9"}, "/tenant/research" + PATH, 403),
            ],
        )


class Configurations(unittest.TestCase):
    # Name, TOML, words its refusal must hold.
    REFUSED = (
        ("every address", '[listener]\nlisten = "0.0.0.0:0"\n', "allow_unproven_callers_off_loopback"),
        ("every IPv6 address", '[listener]\nlisten = "[::]:0"\n', "allow_unproven_callers_off_loopback"),
        ("one address of a network", '[listener]\nlisten = "192.0.2.10:0"\n',
         "allow_unproven_callers_off_loopback"),
        ("trusted network covers a trusted proxy",
         '[listener]\ntrusted_proxies = ["10.0.0.1/32"]\n[identity]\ntrusted_networks = ["10.0.0.0/8"]\n',
         "trusted_proxies"),
    )

    def test_none_that_trusts_strangers_starts(self):
        for name, toml, words in self.REFUSED:
            with self.subTest(name), Workspace() as workspace:
                file = workspace.path / "bedrock-meter.toml"
                file.write_text(toml + f'[ledger]\ndirectory = "{workspace.path}/ledger"\n')
                for command in (("check-config", file), ("serve", "--config", file)):
                    code, output = run(*command)
                    self.assertEqual(BAD_CONFIGURATION, code, output)
                    self.assertIn(words, output)

    def test_the_words_of_consent_are_enough(self):
        with Workspace() as workspace:
            file = workspace.path / "bedrock-meter.toml"
            file.write_text(
                '[listener]\nlisten = "0.0.0.0:8080"\nallow_unproven_callers_off_loopback = true\n'
            )
            code, output = run("check-config", file)
            self.assertEqual(0, code, output)

    def test_the_container_listens_outside_and_demands_a_proof(self):
        shipped = ROOT / "deploy/container.toml"
        token = unittest.mock.patch.dict(os.environ, {"BEDROCK_METER_ADMIN_TOKEN": "secret"})
        with Workspace() as workspace, token:
            code, output = run("check-config", shipped)
            self.assertEqual(0, code, output)
            self.assertNotIn("secret\"", output)
            believing = workspace.path / "believing.toml"
            believing.write_text(shipped.read_text().replace('"proven"', '"trusted-headers"'))
            self.assertEqual(BAD_CONFIGURATION, run("check-config", believing)[0])
        code, output = run("check-config", shipped)
        self.assertEqual(BAD_CONFIGURATION, code, "without the admin token: " + output)
