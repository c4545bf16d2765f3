"""Callers are proven: unmodified SDKs with keys of the proxy pass, and whoever shows anything else,
or something that was changed on the way, is refused without a connection to Bedrock.
"""

import base64
import contextlib
import datetime
import hmac
import json
import os
import pathlib
import sqlite3
import ssl
import subprocess
import threading
import time
import unittest
import unittest.mock
import urllib.error
import urllib.request

import botocore.credentials
import botocore.exceptions
import clients
from harness import BINARY, MODEL, PROFILE, Workspace
from suite_compatibility import CLIENTS, certificate, run, tenant
from tamper import Tamperer

PROVEN = {"mode": "proven"}
# How each client names a 403 with that class of AWS.
ERRORS = {
    "boto3": "ClientError", "aws-cli": "CliError", "anthropic-python": "PermissionDeniedError",
    "langchain-aws": "ClientError", "litellm": "PermissionDeniedError", "ai-sdk": "AI_APICallError",
    "anthropic-bedrock-sdk": "PermissionDeniedError", "aws-sdk-rust": None,
}
TOKEN_CLIENTS = ("boto3", "aws-cli", "anthropic-python", "langchain-aws", "litellm", "aws-sdk-js (HTTP/2)",
                 "aws-sdk-js (HTTP/1.1)", "anthropic-bedrock-sdk", "ai-sdk", "langchain-js", "aws-sdk-rust")
# boto3 sends a bearer token over TLS only.
TLS_ONLY = ("boto3", "langchain-aws")


def error_of(client, aws_class):
    """What the client raises for a class of AWS."""
    expected = ERRORS.get(client.name, aws_class)
    return expected or aws_class


class Passing(unittest.TestCase):
    """Every client and operation, with a pair and with a token, over clear text and TLS."""

    def hold(self, proxy, simulator, ca, kind):
        shown = proxy.issue("science", "--application", "lab", kind=kind)
        proxy.wait_for_callers()
        for program in ("python", "js", "rust"):
            wanted = [
                (client, operation)
                for client in CLIENTS if client.program == program and (client.tls or not ca)
                and (kind == "pair" or client.name in TOKEN_CLIENTS)
                and (kind == "pair" or ca or client.name not in TLS_ONLY)
                for operation in client.operations
            ]
            if not wanted:
                continue
            cases = [
                {"client": client.name, "operation": operation, "model": MODEL, "ca": ca and str(ca),
                 "url": f"{proxy.url}/application/{tenant(client, operation)}",
                 ("token" if kind == "token" else "key"): shown}
                for client, operation in wanted
            ]
            for (client, operation), answer in zip(wanted, run(program, cases, ca)):
                with self.subTest(client=client.name, operation=operation, kind=kind, tls=bool(ca)):
                    self.assertIn("output_tokens", answer, answer)
                    wanted_application = tenant(client, operation)
                    mine = proxy.wait_for_entries(1, 10, tenant="science", application=wanted_application)
                    self.assertEqual([answer["output_tokens"]], [e["output_tokens"] for e in mine])

    def test_clear_text(self):
        for kind in ("pair", "token"):
            with Workspace() as workspace:
                simulator = workspace.simulator()
                self.hold(workspace.proxy(simulator.url, identity=PROVEN), simulator, None, kind)

    def test_tls(self):
        for kind in ("pair", "token"):
            with Workspace() as workspace:
                simulator = workspace.simulator()
                ca, key = certificate(workspace.path)
                secured = {"certificate_file": str(ca), "key_file": str(key)}
                proxy = workspace.proxy(simulator.url, identity=PROVEN, listener__tls=secured)
                self.hold(proxy, simulator, ca, kind)


def tampering(name):
    """What somebody on the way does, by name; a header's name changes that header's value."""
    scope = {"date": 1, "region": 2, "service": 3}

    def in_scope(request, at, value):
        def change(authorization):
            head, rest = authorization.split("Credential=", 1)
            credential, tail = rest.split(",", 1)
            parts = credential.split("/")
            parts[at] = value
            return f"{head}Credential={'/'.join(parts)},{tail}"
        request.replace("authorization", change)

    def flip(value):
        return value[:-1] + ("0" if value[-1] != "0" else "1")

    def alter(request):
        if name == "body":
            request.body = request.body.replace(b"hello", b"HELLO")
        elif name == "path":
            request.target = request.target.replace("sonnet", "opus")
        elif name == "query":
            request.target += "?a=b"
        elif name == "key id":
            in_scope(request, 0, "BMAKAAAAAAAAAAAAAAAA")
        elif name in scope:
            in_scope(request, scope[name], {"date": "20200101", "region": "eu-west-1", "service": "s3"}[name])
        elif name == "signature":
            request.replace("authorization", flip)
        else:
            request.replace(name, lambda value: value + "x" if name != "x-amz-date" else flip(value[:-1]) + "Z")

    return alter


class Tampering(unittest.TestCase):
    """Each single change on the way is refused, with the right class and after one attempt."""

    KINDS = ("body", "path", "query", "date", "region", "service", "key id", "signature")

    def signed_headers(self, proxy, client, key):
        """The headers that this client signs, as it says itself."""
        seen = []

        def note(request):
            authorization = next(v for n, v in request.headers if n.lower() == "authorization")
            seen.extend(authorization.split("SignedHeaders=")[1].split(",")[0].split(";"))

        with Tamperer(proxy.url, note) as relay:
            (answer,) = run(client.program, [self.case(relay.url, client, key)], attempts=None)
        self.assertIn("output_tokens", answer, answer)
        return seen

    def case(self, url, client, key):
        return {"client": client.name, "operation": client.operations[0], "model": MODEL, "ca": None,
                "url": url, "key": key}

    def test_every_sdk_meets_its_own_error_after_one_attempt(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=PROVEN, **regions(simulator.url))
            key = proxy.issue("science")
            proxy.wait_for_callers()
            served = 0
            for client in CLIENTS:
                if client.transport == "HTTP/2" or client.name == "langchain-aws":
                    # The relay speaks HTTP/1.1; langchain-aws calls with boto3.
                    continue
                headers = self.signed_headers(proxy, client, key)
                served += 1
                # A change of content-length breaks the request itself, not its signature.
                changes = [*self.KINDS, "host", *(h for h in headers if h not in ("content-length", "host"))]
                with contextlib.ExitStack() as relays:
                    relays = [relays.enter_context(Tamperer(proxy.url, tampering(what))) for what in changes]
                    cases = [self.case(relay.url, client, key) for relay in relays]
                    answers = run(client.program, cases, attempts=None)
                for what, relay, answer in zip(changes, relays, answers):
                    with self.subTest(client=client.name, changed=what):
                        self.hold(client, answer)
                        self.assertEqual(1, relay.requests, answer)
            with self.subTest("nothing that was changed reached Bedrock"):
                self.assertEqual(served, len(simulator.served()))

    def hold(self, client, answer):
        """It is the client's own error for a signature that does not hold, or that is too old."""
        classes = ("InvalidSignatureException", "RequestTimeTooSkewed")
        self.assertIn(answer.get("error"), [error_of(client, name) for name in classes], answer)
        if client.name == "boto3":
            self.assertIn(answer.get("code"), classes, answer)
        if client.name == "aws-cli":
            self.assertTrue(any(name in answer["message"] for name in classes), answer)

    def test_a_wrong_secret_is_refused_once_over_http2_too(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=PROVEN)
            key = (proxy.issue("science")[0], "x" * 40)
            proxy.wait_for_callers()
            for program in ("python", "js", "rust"):
                wanted = [client for client in CLIENTS if client.program == program]
                answers = run(program, [self.case(proxy.url, client, key) for client in wanted], attempts=None)
                for client, answer in zip(wanted, answers):
                    with self.subTest(client=client.name):
                        self.hold(client, answer)
            with self.subTest("one attempt of each, and none reached Bedrock"):
                self.assertEqual(len(CLIENTS), proxy.metric("bedrock_meter_refused_total"))
                self.assertEqual([], simulator.served())


def regions(url):
    """Two regions, so that a changed one is refused for its signature."""
    names = ["us-east-1", "eu-west-1"]
    return {"upstream": {"regions": names}, "upstream__endpoints": {name: url for name in names}}


class Refused(unittest.TestCase):
    """Whoever cannot prove who it is, or says something else beside the proof."""

    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.simulator = cls.workspace.simulator()
        cls.proxy = cls.workspace.proxy(cls.simulator.url, identity=PROVEN)
        cls.key = cls.proxy.issue("science", "--application", "lab")
        cls.token = cls.proxy.issue("science", kind="token")
        cls.proxy.wait_for_callers()

    def call(self, key=None, token=None, headers=None, base="", model=MODEL, operation="converse", proxy=None,
             body=None):
        proxy = proxy or self.proxy
        path = f"{base}/model/{model}/{operation}"
        body = json.dumps({"messages": clients.CONVERSE}).encode() if body is None else body
        headers = {"content-type": "application/json", **(headers or {})}
        if token:
            headers |= {"Authorization": f"Bearer {token}"}
        else:
            headers = clients.signed("POST", proxy.url + path, headers, body, key=key or self.key)
        return clients.exchange(proxy.url, "POST", path, headers, body)

    def refused(self, kind, reason=None, **call):
        before = self.served()
        status, headers, body = self.call(**call)
        self.assertEqual(403, status, body)
        self.assertEqual(kind, headers["x-bedrock-meter-error"])
        self.assertTrue(json.loads(body)["message"].startswith("bedrock-meter:"), body)
        self.assertEqual(before, self.served(), "it reached Bedrock")
        if reason:
            self.assertGreater(self.proxy.metric("bedrock_meter_refused_total", reason=reason), 0)
        return headers, json.loads(body)["message"]

    def served(self):
        return len(self.simulator.served())

    def test_the_key_itself_passes_and_pays_for_its_tenant(self):
        status, _, body = self.call()
        self.assertEqual(200, status, body)
        status, _, body = self.call(token=self.token, headers={"x-bedrock-meter-application": "web"})
        self.assertEqual(200, status, body)
        for application in ("lab", "web"):
            self.assertTrue(self.proxy.wait_for_entries(1, 10, tenant="science", application=application))

    def test_an_unknown_id_and_a_wrong_secret_are_one_answer(self):
        unknown = self.refused("invalid_signature", "unknown_key", key=("BMAKABCDEFGHIJKLMNOP", self.key[1]))
        wrong = self.refused("invalid_signature", "bad_signature", key=(self.key[0], "x" * 40))
        own = ("x-amzn-requestid", "x-bedrock-meter-call-id", "date")
        answers = [({k: v for k, v in h.items() if k not in own}, m) for h, m in (unknown, wrong)]
        self.assertEqual(*answers)
        id_, secret = self.token.split("_", 1)
        unknown = self.refused("invalid_token", "unknown_token", token=f"BMATABCDEFGHIJKLMNOP_{secret}")
        wrong = self.refused("invalid_token", "wrong_secret", token=f"{id_}_{secret[::-1]}")
        self.assertEqual(unknown[1], wrong[1])

    def test_what_others_issued_gets_words_that_say_so(self):
        for id_ in ("AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"):
            _, message = self.refused("foreign_key", key=(id_, "secret"))
            self.assertIn("AWS", message)
            self.assertNotIn(id_, message)
        self.refused("foreign_key", token="ABSKQmVkcm9jaw==")
        self.refused("foreign_key", token="bedrock-api-key-YmVkcm9jaw==")
        self.refused("invalid_token", token="sk-something-else")
        path = f"/model/{MODEL}/converse"
        status, headers, _ = clients.exchange(self.proxy.url, "POST", path, {}, b"{}")
        self.assertEqual((403, "credentials_missing"), (status, headers["x-bedrock-meter-error"]))

    def test_another_name_beside_the_proof_is_refused(self):
        for headers, base in (
            ({"x-bedrock-meter-tenant": "sales"}, ""),
            ({}, "/tenant/sales"),
        ):
            before = self.served()
            status, answer, body = self.call(headers=headers, base=base)
            self.assertEqual((400, "contradicting_claims"), (status, answer["x-bedrock-meter-error"]), body)
            self.assertEqual(before, self.served())
        # What no proof contradicts is the caller's own affair, and never makes another tenant pay.
        metadata = json.dumps({"tenant": "sales", "application": "meta"})
        status, _, body = self.call(headers={
            "user-agent": "app/agent", "x-amzn-bedrock-request-metadata": metadata})
        self.assertEqual(200, status, body)
        self.assertEqual([], self.proxy.wait_for_entries(1, 0.5, tenant="sales"))

    def test_a_stolen_registry_signs_nothing(self):
        stolen = self.workspace.path / "stolen.sqlite3"
        with sqlite3.connect(self.proxy.ledger / "callers.sqlite3") as live, sqlite3.connect(stolen) as copy:
            live.backup(copy)
            rows = live.execute("select * from keys").fetchall()
        texts = {str(value) for row in rows for value in row if value is not None}
        texts |= {value.hex() for row in rows for value in row if isinstance(value, bytes)}
        texts |= {base64.b64encode(value).decode() for row in rows for value in row if isinstance(value, bytes)}
        for text in texts:
            self.refused("invalid_signature", key=(self.key[0], text))
            status, headers, _ = self.call(token=f"{self.token.split('_')[0]}_{text}")
            self.assertEqual(403, status)
        self.assertNotIn(self.key[1].encode(), stolen.read_bytes())

    def test_a_key_that_ended_is_refused_and_says_so(self):
        revoked, expired = self.proxy.issue("science"), self.proxy.issue("science", "--expires", "2020-01-01")
        self.proxy.command("keys", "revoke", revoked[0])
        self.proxy.wait_for_callers()
        self.refused("key_revoked", key=revoked)
        self.refused("key_expired", key=expired)
        # Who does not hold the secret learns nothing of it.
        self.refused("invalid_signature", key=(revoked[0], "x" * 40))

    def test_a_suspended_tenant_is_refused_until_it_is_resumed(self):
        key = self.proxy.issue("pause")
        self.proxy.command("tenants", "suspend", "pause")
        self.proxy.wait_for_callers()
        self.refused("tenant_inactive", key=key)
        self.proxy.command("tenants", "resume", "pause")
        self.proxy.wait_for_callers()
        self.assertEqual(200, self.call(key=key)[0])

    def test_a_key_reaches_only_what_its_policy_allows(self):
        for options, call, kind in (
            (("--models", "amazon.*"), {}, "model_not_allowed"),
            (("--geographies", "eu"), {"model": PROFILE.replace("/", "%2F")}, "geography_not_allowed"),
            (("--geographies", "us"), {"model": PROFILE.replace("us.", "eu.").replace("/", "%2F")},
             "geography_not_allowed"),
            (("--models", "*"), {"model": "arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fabc"},
             "resource_not_allowed"),
            (("--models", "us.*"), {"model": "arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fabc"},
             "model_not_allowed"),
            (("--regions", "eu-west-1"), {}, "region_not_allowed"),
            (("--operations", "InvokeModel"), {}, "operation_not_allowed"),
            (("--networks", "10.0.0.0/8"), {}, "network_not_allowed"),
            (("--applications", "search"), {}, "application_not_allowed"),
            (("--models", "amazon.*", "--observe"), {}, None),
            (("--models", "anthropic.*"), {}, None),
        ):
            with self.subTest(options=options, call=call):
                key = self.proxy.issue("limited", *options)
                self.proxy.wait_for_callers()
                if kind:
                    self.refused(kind, key=key, **call)
                else:
                    status, _, body = self.call(key=key, **call)
                    self.assertEqual(200, status, body)
        observed = self.proxy.metric("bedrock_meter_observed_refusals_total", reason="model_not_allowed")
        self.assertEqual(1, observed)


TEAMS = """
[tenants.a.policy]
resources = ["s3://a-bucket/*", "*guardrail/a", "*/team-a"]
[tenants.b.policy]
resources = ["s3://b-bucket/*"]
[tenants.guarded.policy]
resources = ["*"]
require_guardrail = "*guardrail/a"
[keys.a]
tenant = "a"
[keys.b]
tenant = "b"
[keys.guarded]
tenant = "guarded"
"""
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012"


class Owned(unittest.TestCase):
    """Nobody reaches another's things through the credentials that all share."""

    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.simulator = cls.workspace.simulator()
        cls.proxy = cls.workspace.proxy(
            cls.simulator.url, identity={**PROVEN, "shared_resources": ["*guardrail/everybodys"]})
        file = cls.workspace.path / "teams.toml"
        file.write_text(TEAMS)
        issued = json.JSONDecoder()
        text, cls.clients = cls.proxy.command("keys", "apply", file, "--output", "json"), {}
        while text.strip():
            key, end = issued.raw_decode(text.lstrip())
            text = text.lstrip()[end:]
            client = clients.boto3_client(cls.proxy.url)
            client._request_signer._credentials = botocore.credentials.Credentials(
                key["id"], key["secret_access_key"])
            cls.clients[key["tenant"]] = client
        cls.proxy.wait_for_callers()

    def start(self, client, bucket="s3://a-bucket/out", model="amazon.nova-reel-v1:0", **model_input):
        output = {"s3OutputDataConfig": {"s3Uri": bucket}}
        return client.start_async_invoke(modelId=model, modelInput=model_input, outputDataConfig=output)

    def denied(self, call, kind="resource_not_allowed"):
        before = len(self.simulator.served())
        with self.assertRaises(Exception) as raised:
            call()
        answer = raised.exception.response["ResponseMetadata"]["HTTPHeaders"]
        self.assertEqual(kind, answer["x-bedrock-meter-error"], raised.exception)
        self.assertEqual(before, len(self.simulator.served()), "it reached Bedrock")

    def test_a_job_is_its_tenants(self):
        a, b = self.clients["a"], self.clients["b"]
        mine = self.start(a)["invocationArn"]
        other = self.start(b, "s3://b-bucket/out")["invocationArn"]
        self.assertEqual("Completed", a.get_async_invoke(invocationArn=mine)["status"])
        self.denied(lambda: b.get_async_invoke(invocationArn=mine))
        self.denied(lambda: a.get_async_invoke(invocationArn=f"{ACCOUNT}:async-invoke/unknown12345"))
        listed = [[job["invocationArn"] for job in client.list_async_invokes()["asyncInvokeSummaries"]]
                  for client in (a, b)]
        self.assertEqual([[mine], [other]], listed)

    def test_a_bucket_is_its_tenants(self):
        a = self.clients["a"]
        self.denied(lambda: self.start(a, "s3://b-bucket/out"))
        self.denied(lambda: self.start(a, "s3://a-bucket-of-another/out"))
        video = {"s3Location": {"uri": "s3://b-bucket/film.mp4"}}
        self.denied(lambda: self.start(a, image=video))
        message = {"role": "user", "content": [{"video": {"format": "mp4", "source": video}}]}
        self.denied(lambda: a.converse(modelId=MODEL, messages=[message]))
        text = {"role": "user", "content": [{"text": "s3://b-bucket/film.mp4"}]}
        a.converse(modelId=MODEL, messages=[text])

    def test_profiles_models_and_guardrails_are_their_tenants(self):
        a, b = self.clients["a"], self.clients["b"]
        profile = f"{ACCOUNT}:application-inference-profile/team-a"
        a.converse(modelId=profile, messages=clients.CONVERSE)
        self.denied(lambda: b.converse(modelId=profile, messages=clients.CONVERSE))
        for kind in ("provisioned-model/x", "custom-model-deployment/x", "imported-model/x", "prompt/X:1"):
            self.denied(lambda: a.converse(modelId=f"{ACCOUNT}:{kind}", messages=clients.CONVERSE))
        guardrail = lambda name: {"guardrailIdentifier": f"{ACCOUNT}:guardrail/{name}", "guardrailVersion": "1"}
        for name in ("a", "everybodys"):
            a.converse(modelId=MODEL, messages=clients.CONVERSE, guardrailConfig=guardrail(name))
        self.denied(lambda: b.converse(
            modelId=MODEL, messages=clients.CONVERSE, guardrailConfig=guardrail("a")))
        self.denied(lambda: b.apply_guardrail(
            guardrailIdentifier=f"{ACCOUNT}:guardrail/a", guardrailVersion="1", source="INPUT", content=[]))

    def test_a_guardrail_that_is_demanded_has_to_be_named(self):
        guarded = self.clients["guarded"]
        ask = {"modelId": MODEL, "messages": clients.CONVERSE}
        self.denied(lambda: guarded.converse(**ask), "guardrail_required")
        other = {"guardrailIdentifier": f"{ACCOUNT}:guardrail/b", "guardrailVersion": "1"}
        self.denied(lambda: guarded.converse(**ask, guardrailConfig=other), "guardrail_required")
        guarded.converse(**ask, guardrailConfig={**other, "guardrailIdentifier": f"{ACCOUNT}:guardrail/a"})
        body = json.dumps(clients.CLAUDE)
        self.denied(lambda: guarded.invoke_model(modelId=MODEL, body=body), "guardrail_required")
        guarded.invoke_model(modelId=MODEL, body=body, guardrailVersion="1",
                             guardrailIdentifier=f"{ACCOUNT}:guardrail/a")

    def test_the_list_of_profiles_shows_ones_own_and_awss(self):
        path = "/inference-profiles"
        for tenant, own in (("a", {"team-a"}), ("b", set())):
            credentials = self.clients[tenant]._request_signer._credentials
            key = (credentials.access_key, credentials.secret_key)
            headers = clients.signed("GET", self.proxy.url + path, key=key)
            status, _, body = clients.exchange(self.proxy.url, "GET", path, headers)
            self.assertEqual(200, status, body)
            names = {p["inferenceProfileId"] for p in json.loads(body)["inferenceProfileSummaries"]}
            self.assertEqual(own, names & {"team-a", "team-b"})
            self.assertIn("us.amazon.nova-pro-v1:0", names)


class Rotation(unittest.TestCase):
    """Keys end and master keys change while calls go on."""

    def test_a_revocation_holds_within_a_second_and_disturbs_nobody(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=PROVEN)
            keys = {name: proxy.issue(name) for name in ("stays", "goes")}
            proxy.wait_for_callers()
            statuses, ended = {name: [] for name in keys}, threading.Event()

            def load(name):
                client = clients.boto3_client(proxy.url)
                client._request_signer._credentials = botocore.credentials.Credentials(*keys[name])
                while not ended.is_set():
                    try:
                        client.converse(modelId=MODEL, messages=clients.CONVERSE)
                        statuses[name].append((time.monotonic(), 200))
                    except Exception as error:
                        statuses[name].append((time.monotonic(), error.response["Error"]["Code"]))

            threads = [threading.Thread(target=load, args=(name,)) for name in keys for _ in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(1)
            proxy.command("keys", "revoke", keys["goes"][0])
            revoked = time.monotonic()
            time.sleep(2)
            ended.set()
            for thread in threads:
                thread.join()
            late = {status for at, status in statuses["goes"] if at > revoked + 1}
            self.assertEqual({"AccessDeniedException"}, late)
            self.assertIn(200, {status for at, status in statuses["goes"] if at < revoked})
            self.assertEqual({200}, {status for _, status in statuses["stays"]})

    def test_a_new_master_key_logs_nobody_out_while_the_old_one_is_listed(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            master = [master_key(version) for version in (1, 2)]
            proxy = workspace.proxy(simulator.url, identity=PROVEN, keys={"master_key": master[0]})
            old = proxy.issue("science")
            proxy.terminate()
            both = {"master_key": f"{master[1]} {master[0]}"}
            proxy = workspace.proxy(simulator.url, identity=PROVEN, keys=both)
            new = proxy.issue("science")
            proxy.wait_for_callers()
            refused = Refused("call")
            for key in (old, new):
                self.assertEqual(200, refused.call(key=key, proxy=proxy)[0])
            proxy.terminate()
            proxy = workspace.proxy(simulator.url, identity=PROVEN, keys={"master_key": master[1]})
            self.assertEqual(200, refused.call(key=new, proxy=proxy)[0])
            self.assertEqual(403, refused.call(key=old, proxy=proxy)[0], "its master key is gone")


def master_key(version):
    return subprocess.run([BINARY, "keys", "master-key", "--version", str(version)],
                          capture_output=True, text=True, check=True).stdout.strip()


class Sessions(unittest.TestCase):
    """The AWS container-credentials protocol, as botocore speaks it."""

    def test_a_token_becomes_credentials_that_botocore_refreshes_by_itself(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=PROVEN)
            token = proxy.issue("science", "--application", "pod", "--models", "anthropic.*", kind="token")
            proxy.wait_for_callers()
            file = pathlib.Path(workspace.path) / "token"
            file.write_text(token)
            provider = botocore.credentials.ContainerProvider(environ={
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{proxy.url}/bedrock-meter/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)})
            credentials = provider.load()
            client = clients.boto3_client(proxy.url)
            client._request_signer._credentials = credentials
            first = credentials.get_frozen_credentials()
            self.assertTrue(first.access_key.startswith("BMAS"))
            client.converse(modelId=MODEL, messages=clients.CONVERSE)
            now = datetime.datetime.now(datetime.timezone.utc)
            later = now + datetime.timedelta(minutes=56)
            with unittest.mock.patch.object(credentials, "_time_fetcher", lambda: later):
                second = credentials.get_frozen_credentials()
            self.assertNotEqual(first.access_key, second.access_key)
            client.converse(modelId=MODEL, messages=clients.CONVERSE)
            entries = proxy.wait_for_entries(2, 5, tenant="science")
            self.assertEqual({"pod"}, {entry["application"] for entry in entries})
            with self.subTest("the key's policy holds for the session"):
                with self.assertRaises(client.exceptions.AccessDeniedException):
                    client.converse(modelId="amazon.nova-lite-v1:0", messages=clients.CONVERSE)
            with self.subTest("a changed session token signs nothing"):
                forged = json.loads(base64.urlsafe_b64decode(second.token + "=="))
                forged["t"] = "sales"
                forged = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
                client._request_signer._credentials = botocore.credentials.Credentials(
                    second.access_key, second.secret_key, forged)
                with self.assertRaises(Exception) as raised:
                    client.converse(modelId=MODEL, messages=clients.CONVERSE)
                self.assertEqual("InvalidSignatureException", raised.exception.response["Error"]["Code"])
            with self.subTest("the end of the key is the end of its sessions"):
                client._request_signer._credentials = credentials
                proxy.command("keys", "revoke", token.split("_")[0])
                proxy.wait_for_callers()
                with self.assertRaises(client.exceptions.AccessDeniedException):
                    client.converse(modelId=MODEL, messages=clients.CONVERSE)


class Applied(unittest.TestCase):
    """Keys and tenants from files."""

    TEAMS = """
[tenants.research]
owner = "Ann"
policy = { geographies = ["in-region"] }

[keys.ci]
tenant = "research"
policy = { models = ["anthropic.*"] }
"""

    def test_a_file_is_applied_once_and_pruned(self):
        with Workspace() as workspace:
            proxy = workspace.proxy(workspace.simulator().url, identity=PROVEN)
            file = workspace.path / "teams.toml"
            file.write_text(self.TEAMS)
            issued = json.loads(proxy.command("keys", "apply", file, "--output", "json"))
            self.assertEqual("research", issued["tenant"])
            self.assertEqual("", proxy.command("keys", "apply", file, "--output", "json"), "once")
            file.write_text(self.TEAMS.replace("keys.ci", "keys.cd"))
            proxy.command("keys", "apply", file, "--output", "json", "--prune")
            keys = {k["name"]: k["state"] for k in json.loads(proxy.command("keys", "list", "--format", "json"))}
            self.assertEqual({"ci": "revoked", "cd": "good"}, keys)
            acts = [event["act"] for event in json.loads(proxy.command("keys", "audit", "--format", "json"))]
            self.assertEqual(["key_revoked", "key_created", "key_created", "tenant_created"], acts)
            file.write_text('[keys.x]\ntenant = "a b"\n[keys.y]\ntenant = "t"\nkind = "z"\n')
            with self.assertRaisesRegex(RuntimeError, r"(?s)keys.x.*keys.y"):
                proxy.command("keys", "apply", file)


class Issuer:
    """An issuer of tokens with an RSA key: openssl makes the signatures."""

    ISS = "https://issuer.example"

    def __init__(self, directory):
        self.key = directory / "issuer.pem"
        openssl("genrsa", "-out", self.key, "2048")
        modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").decode().strip().split("=")[1]
        self.public = openssl("rsa", "-in", self.key, "-pubout")
        self.jwks = directory / "jwks.json"
        key = {"kty": "RSA", "kid": "k1", "alg": "RS256", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}
        self.jwks.write_text(json.dumps({"keys": [key]}))

    def token(self, algorithm="RS256", audience="bedrock-meter", seconds=600, **claims):
        claims = {"iss": self.ISS, "aud": audience, "exp": int(time.time()) + seconds, **claims}
        head = {"alg": algorithm, "typ": "JWT", "kid": "k1"}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{b64(self.signature(algorithm, signed.encode()))}"

    def signature(self, algorithm, signed):
        if algorithm == "none":
            return b""
        if algorithm == "HS256":
            # Key confusion: the public key as the secret of an HMAC.
            return hmac.digest(self.public, signed, "sha256")
        return openssl("dgst", "-sha256", "-sign", self.key, stdin=signed)


def openssl(*arguments, stdin=b""):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Issuers(unittest.TestCase):
    """Tokens of a login provider and of Kubernetes."""

    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.simulator = cls.workspace.simulator()
        cls.issuer = Issuer(cls.workspace.path)
        cls.proxy = cls.workspace.proxy(
            cls.simulator.url, identity=PROVEN,
            identity__issuers__login={
                "issuer": Issuer.ISS, "audiences": ["bedrock-meter"], "jwks_file": str(cls.issuer.jwks),
                "tenant_claim": "team", "application_claim": "azp", "user_claim": "email"},
            identity__issuers__login__match__pods={
                "namespace": "search-*", "service_account": "*",
                "tenant": "search", "application": "{service_account}"})

    call = Refused.call
    served = Refused.served
    refused = Refused.refused

    def test_a_token_pays_for_its_team(self):
        token = self.issuer.token(team="research", azp="notebook")
        status, _, body = self.call(token=token)
        self.assertEqual(200, status, body)
        (js,) = run("js", [{"client": "aws-sdk-js (HTTP/2)", "operation": "ConverseStream", "model": MODEL,
                            "url": self.proxy.url, "token": token}])
        self.assertIn("output_tokens", js)
        entries = self.proxy.wait_for_entries(2, 5, tenant="research")
        self.assertEqual(["notebook"] * 2, [entry["application"] for entry in entries])

    def test_no_other_token_does(self):
        token = self.issuer.token
        for reason, shown in (
            ("wrong_audience", token(team="research", audience="another")),
            ("algorithm_not_allowed", token("none", team="research")),
            ("algorithm_not_allowed", token("HS256", team="research")),
            ("expired", token(team="research", seconds=-3600)),
            ("no_tenant_claim", token()),
            ("bad_signature", token(team="research")[:-8] + "AAAAAAAA"),
            ("malformed", token(team="research", iss="https://another.example")),
        ):
            with self.subTest(reason):
                self.refused("invalid_token", reason, token=shown)
        before = self.served()
        status, headers, _ = self.call(
            token=token(team="research"), headers={"x-bedrock-meter-tenant": "sales"})
        self.assertEqual((400, "contradicting_claims"), (status, headers["x-bedrock-meter-error"]))
        self.assertEqual(before, self.served())

    def test_a_service_account_becomes_credentials(self):
        pod = self.issuer.token(**{"kubernetes.io": {
            "namespace": "search-prod", "serviceaccount": {"name": "ranker"}}})
        file = self.workspace.path / "service-account"
        file.write_text(pod)
        provider = botocore.credentials.ContainerProvider(environ={
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.proxy.url}/bedrock-meter/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)})
        client = clients.boto3_client(self.proxy.url)
        client._request_signer._credentials = provider.load()
        client.converse(modelId=MODEL, messages=clients.CONVERSE)
        (entry,) = self.proxy.wait_for_entries(1, 5, tenant="search")
        self.assertEqual("ranker", entry["application"])
        file.write_text(pod[:-8] + "AAAAAAAA")
        with self.assertRaises(botocore.exceptions.CredentialRetrievalError):
            provider.load().get_frozen_credentials()


class Certificates(unittest.TestCase):
    """A client certificate proves its workload."""

    def test_a_spiffe_id_becomes_a_tenant(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            ca, key = certificate(workspace.path)
            mine = self.client(workspace.path, "spiffe://example.org/ns/search/sa/ranker")
            proxy = workspace.proxy(
                simulator.url, identity=PROVEN,
                listener__tls={"certificate_file": str(ca), "key_file": str(key),
                               "client_ca_file": str(workspace.path / "clients.pem"),
                               "client_certificates": "optional"},
                identity__certificates__mesh={
                    "san": "spiffe://example.org/ns/*/sa/*", "tenant": "mesh", "application": "ranker"})
            self.assertEqual(200, self.call(proxy, ca, mine))
            (entry,) = proxy.wait_for_entries(1, 5, tenant="mesh")
            self.assertEqual("ranker", entry["application"])
            self.assertEqual(403, self.call(proxy, ca, None))
            other = self.client(workspace.path, "spiffe://another.org/ns/search/sa/ranker")
            self.assertEqual(403, self.call(proxy, ca, other))
            forged = 'By=x;URI=spiffe://example.org/ns/search/sa/ranker'
            self.assertEqual(403, self.call(proxy, ca, None, {"x-forwarded-client-cert": forged}))
            self.assertEqual(1, len(simulator.served()))

    def client(self, directory, name):
        """A certificate of the clients' authority with that name, and its key, in one file."""
        authority, authority_key = directory / "clients.pem", directory / "clients.key"
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        if not authority.exists():
            openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=clients",
                    "-keyout", authority_key, "-out", authority)
        one = directory / f"{abs(hash(name))}.pem"
        openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=client", "-CA", authority,
                "-CAkey", authority_key, "-addext", f"subjectAltName=URI:{name}",
                "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=clientAuth",
                "-keyout", f"{one}.key", "-out", one)
        one.write_text(one.read_text() + pathlib.Path(f"{one}.key").read_text())
        return one

    def call(self, proxy, ca, shown, headers=None):
        trust = ssl.create_default_context(cafile=ca)
        if shown:
            trust.load_cert_chain(shown)
        body = json.dumps({"messages": clients.CONVERSE}).encode()
        request = urllib.request.Request(
            f"{proxy.url}/model/{MODEL}/converse", body,
            {"content-type": "application/json", **(headers or {})})
        try:
            return urllib.request.urlopen(request, context=trust, timeout=30).status
        except urllib.error.HTTPError as refused:
            return refused.code


class ClaudeCode(unittest.TestCase):
    """The real program, with each way of proving itself that it has."""

    MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

    def test_it_works_with_a_pair_and_with_a_token(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            proxy = workspace.proxy(simulator.url, identity=PROVEN)
            pair, token = proxy.issue("science"), proxy.issue("science", kind="token")
            proxy.wait_for_callers()
            ways = {
                "pair": {"AWS_ACCESS_KEY_ID": pair[0], "AWS_SECRET_ACCESS_KEY": pair[1]},
                "gateway-token": {"CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1", "ANTHROPIC_AUTH_TOKEN": token},
                "bearer-token": {"AWS_BEARER_TOKEN_BEDROCK": token},
            }
            for name, shown in ways.items():
                with self.subTest(name):
                    home = workspace.path / name
                    home.mkdir()
                    environment = {
                        "PATH": os.environ["PATH"], "HOME": str(home), "AWS_REGION": "us-east-1",
                        "CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_MODEL": self.MODEL,
                        "ANTHROPIC_BEDROCK_BASE_URL": f"{proxy.url}/application/{name}",
                        # Nothing but the calls under test.
                        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1",
                        "DISABLE_AUTOUPDATER": "1", **shown}
                    done = subprocess.run(
                        [clients.HERE / "node_modules/.bin/claude", "-p", "Say hello.", "--output-format", "json"],
                        capture_output=True, text=True, env=environment, cwd=home, timeout=120,
                        stdin=subprocess.DEVNULL, check=False)
                    self.assertEqual(0, done.returncode, done.stdout + done.stderr)
                    said = json.loads(done.stdout)
                    self.assertFalse(said["is_error"], said)
                    (call,) = proxy.wait_for_entries(
                        1, 10, tenant="science", application=name, operation="InvokeModelWithResponseStream",
                        output_tokens=said["usage"]["output_tokens"])[:1]
                    self.assertEqual(200, call["status"])
