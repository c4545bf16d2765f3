"""Roles assumed for tenants, and request metadata, with the real SDK: under whose session each call
reaches Bedrock, and that the account-wide key never stands in.
"""

import collections
import time
import unittest

import boto3
import botocore.config
import botocore.exceptions
from harness import MODEL, REGION, Workspace

PROVEN = {"mode": "proven"}
TEMPLATE = "arn:aws:iam::123456789012:role/bedrock-{tenant}"
MESSAGES = [{"role": "user", "content": [{"text": "Hello"}]}]


def client(proxy, key):
    """The SDK as a team uses it, without retries, so that one call is one call."""
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    return boto3.client(
        "bedrock-runtime", endpoint_url=proxy.url, region_name=REGION, config=config,
        aws_access_key_id=key[0], aws_secret_access_key=key[1],
    )


def answer(bedrock, **more):
    """`served`, or the class of the error and the kind of the proxy's refusal."""
    try:
        bedrock.converse(modelId=MODEL, messages=MESSAGES, **more)
    except botocore.exceptions.ClientError as error:
        headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        return error.response["Error"]["Code"], headers.get("x-bedrock-meter-error")
    return "served"


def arn(tenant, account="123456789012"):
    return f"arn:aws:sts::{account}:assumed-role/bedrock-{tenant}/{tenant}"


UNAVAILABLE = ("ServiceUnavailableException", "role_unavailable")


class Roles(unittest.TestCase):
    def proxy(self, workspace, simulator, sts, **roles):
        return workspace.proxy(
            simulator.url, identity=PROVEN, upstream__sts_endpoints={REGION: sts.url},
            upstream__roles={"default": TEMPLATE, **roles},
        )

    def keys(self, proxy, *tenants):
        keys = {tenant: proxy.issue(tenant) for tenant in tenants}
        proxy.wait_for_callers()
        return {tenant: client(proxy, key) for tenant, key in keys.items()}

    def test_the_bill_shows_each_tenant_under_its_own_session(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = self.proxy(workspace, simulator, simulator)
            own = workspace.path / "callers.toml"
            own.write_text('[tenants.green.policy]\nrole_arn = "arn:aws:iam::210987654321:role/bedrock-green"\n')
            proxy.command("keys", "apply", own)
            teams = self.keys(proxy, "red", "blue", "green")
            for _ in range(3):
                for team in teams.values():
                    self.assertEqual("served", answer(team))
            served = [line for line in simulator.served() if line["operation"] == "Converse"]
            by_principal = collections.Counter(line["principal"] for line in served)
            with self.subTest("sessions"):
                self.assertEqual({arn("red"): 3, arn("blue"): 3, arn("green", "210987654321"): 3}, by_principal)
            with self.subTest("tags"):
                for line in served:
                    self.assertEqual({"tenant": line["principal"].rsplit("/", 1)[1]}, line["session_tags"])
            with self.subTest("bill and ledger agree on every tenant"):
                entries = proxy.wait_for_entries(9, 10)
                ledger = collections.Counter()
                for entry in entries:
                    ledger[entry["tenant"]] += entry["output_tokens"]
                bill = collections.Counter()
                for line in served:
                    bill[line["principal"].rsplit("/", 1)[1]] += line["usage"]["output_tokens"]
                self.assertEqual(bill, ledger)
            with self.subTest("a role is assumed once"):
                asked = [line for line in simulator.served() if line["operation"] == "AssumeRole"]
                self.assertEqual(3, len(asked))

    def test_sessions_are_refreshed_and_outlive_sts_to_their_end(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            sts = workspace.simulator(name="sts", session_seconds=8)
            proxy = self.proxy(workspace, simulator, sts)
            teams = self.keys(proxy, "red", "blue")
            keys = set()
            deadline = time.monotonic() + 30
            while len(keys) < 2 and time.monotonic() < deadline:
                self.assertEqual("served", answer(teams["red"]))
                keys |= {line["access_key_id"] for line in simulator.served()}
                time.sleep(0.2)
            with self.subTest("refreshed ahead"):
                self.assertGreaterEqual(len(keys), 2)
            sts.kill()
            with self.subTest("from memory"):
                self.assertEqual("served", answer(teams["red"]))
            with self.subTest("never assumed"):
                self.assertEqual(UNAVAILABLE, answer(teams["blue"]))
            deadline = time.monotonic() + 30
            while (last := answer(teams["red"])) == "served" and time.monotonic() < deadline:
                time.sleep(0.2)
            with self.subTest("refused after its end"):
                self.assertEqual(UNAVAILABLE, last)
            with self.subTest("never other credentials"):
                served = simulator.served()
                self.assertEqual({arn("red")}, {line["principal"] for line in served})
                self.assertEqual({200}, {line["status"] for line in served})
            with self.subTest("counted"):
                failed = proxy.metric("bedrock_meter_role_assumptions_total", outcome="unreachable")
                self.assertGreaterEqual(failed, 2)
                self.assertGreaterEqual(proxy.metric("bedrock_meter_refused_total", reason="role_unavailable"), 2)

    def test_a_role_that_trusts_nobody_stops_its_tenant_alone(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(refuse="sts:AssumeRole/bedrock-red=AccessDeniedException")
            proxy = self.proxy(workspace, simulator, simulator)
            teams = self.keys(proxy, "red", "blue")
            self.assertEqual(UNAVAILABLE, answer(teams["red"]))
            self.assertEqual("served", answer(teams["blue"]))
            self.assertIn("is not authorized", proxy.text(), "the log has AWS's words")


class Metadata(unittest.TestCase):
    KEYS = {"tenant_key": "tenant", "application_key": "app", "call_id_key": "call"}

    def test_bedrock_is_told_who_and_no_client_forges_it(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=PROVEN, upstream__request_metadata=self.KEYS)
            key = proxy.issue("red", "--application", "chat")
            proxy.wait_for_callers()
            red = client(proxy, key)
            forged = {"tenant": "blue", "mine": "1"}
            red.converse(modelId=MODEL, messages=MESSAGES, requestMetadata=forged)
            list(red.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])
            red.invoke_model(modelId=MODEL, body=b'{"messages": []}')["body"].read()
            entries = {entry["operation"]: entry for entry in proxy.wait_for_entries(3, 10)}
            lines = {line["operation"]: line for line in simulator.served()}
            for operation in ("Converse", "ConverseStream", "InvokeModel"):
                with self.subTest(operation):
                    told = dict(lines[operation]["request_metadata"])
                    self.assertEqual("1" if operation == "Converse" else None, told.pop("mine", None))
                    self.assertEqual("red", told.pop("tenant"))
                    self.assertEqual(entries[operation]["application"], told.pop("app"))
                    self.assertEqual(entries[operation]["call_id"], told.pop("call"))
                    self.assertEqual({}, told)

    def test_too_many_pairs_are_a_validation_error(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=PROVEN, upstream__request_metadata=self.KEYS)
            key = proxy.issue("red")
            proxy.wait_for_callers()
            many = {f"k{number}": "v" for number in range(14)}
            refused = answer(client(proxy, key), requestMetadata=many)
            self.assertEqual(("ValidationException", "request_metadata_full"), refused)
            self.assertEqual([], simulator.served())
