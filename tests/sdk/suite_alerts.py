"""Notices to real receivers: a webhook that checks the signature, Slack's and SNS's shapes, a real
Alertmanager; one id for each crossing through failures, kill -9, a restart, two processes and two
replicas on one PostgreSQL.

What crosses here is unpriced spend, which every ledger can have. Needs `prometheus-alertmanager`
(Debian's name; upstream calls the program `alertmanager`).
"""

import collections
import contextlib
import hashlib
import hmac
import http.server
import json
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import unittest
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import replicas
from harness import REGION, UPSTREAM_KEY, Workspace, configuration, run

MESSAGES = [{"role": "user", "content": [{"text": "Hello"}]}]
# The simulator answers it as a model of Anthropic, and no price list has it.
UNPRICED = "anthropic.claude-9-unheard-of-v1:0"
SECRET, NEXT_SECRET = "alerts-secret-one", "alerts-secret-two"
TOPIC = "arn:aws:sns:us-east-1:123456789012:budgets.fifo"
WAIT_SECONDS = 30

Request = collections.namedtuple("Request", "path headers body at")


class Receiver:
    """An HTTP server that keeps what it is told; `answers` are the statuses of the first requests.

    While `hold` is set, requests are read and not answered."""

    def __init__(self, answers=()):
        self.requests, self.answers = [], list(answers)
        self.hold = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver.changed:
                    receiver.requests.append(Request(self.path, headers, body, time.time()))
                    status = receiver.answers.pop(0) if receiver.answers else 200
                    receiver.changed.notify_all()
                while receiver.hold.is_set():
                    time.sleep(0.05)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        self.changed = threading.Condition()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def wait(self, count, seconds=WAIT_SECONDS):
        """The requests, once there are so many."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.requests) >= count, seconds):
                raise AssertionError(f"{len(self.requests)} of {count} requests after {seconds} s")
            return list(self.requests)

    def notices(self):
        return [json.loads(request.body) for request in self.requests]


def until(what, probe, seconds=WAIT_SECONDS):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}")


def is_signed(request, *secrets, tolerance=300):
    """The check that docs/alerts.md gives to receivers."""
    parts = [part.split("=", 1) for part in request.headers["x-bedrock-meter-signature"].split(",")]
    sent = next(value for name, value in parts if name == "t")
    signed = sent.encode() + b"." + request.body
    given = [value for name, value in parts if name == "v1"]
    made = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    fresh = abs(time.time() - int(sent)) < tolerance
    return fresh and any(hmac.compare_digest(one, other) for one in given for other in made)


def webhook(url, **more):
    return {"kind": "webhook", "url": url + "/hook?token=in-the-url", "secret": SECRET, **more}


def outlets(workspace, simulator, named, /, **alerts):
    """A proxy that tells all of these outlets of what is about no budget."""
    changes = {f"alerts__outlets__{name}": keys for name, keys in named.items()}
    changes["alerts"] = {"default_outlets": list(named), "timeout": "2s", **alerts}
    return workspace.proxy(simulator.url, **changes)


def spend(proxy, tenant="search"):
    """One call without a price."""
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    bedrock = boto3.client(
        "bedrock-runtime", endpoint_url=f"{proxy.url}/tenant/{tenant}/application/a", region_name=REGION,
        config=config, aws_access_key_id="AKIACLIENT", aws_secret_access_key="client-secret",
    )
    bedrock.converse(modelId=UNPRICED, messages=MESSAGES)


def pay(proxy):
    """One call of tenant search. 0.25 and 1.25 dollars a million: it costs 0.0006."""
    path = "/model/anthropic.claude-3-haiku-20240307-v1:0/converse"
    headers = {"content-type": "application/json", "x-bedrock-meter-tenant": "search",
               "x-simulate": "input=1900,output=100"}
    body = json.dumps({"messages": MESSAGES}).encode()
    request = urllib.request.Request(proxy.url + path, body, headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def log(proxy, *options):
    code, printed = run("alerts", "log", "--ledger", proxy.ledger, "--format", "json", *options)
    if code:
        raise AssertionError(printed)
    return json.loads(printed)


def delivered(proxy, count):
    """Waits until the log has so many deliveries, as the outlet's answer is noted after it."""
    return until(f"{count} deliveries in the log", lambda: (
        lines := [line for line in log(proxy) if line["standing"] == "delivered"]) and len(lines) >= count and lines)


class Alerts(unittest.TestCase):
    def test_a_webhook_that_fails_twice_is_told_again_under_one_id_and_can_check_who_tells(self):
        with Workspace() as workspace:
            receiver = Receiver(answers=[503, 500])
            proxy = outlets(workspace, workspace.simulator(), {"ops": webhook(receiver.url, next_secret=NEXT_SECRET)})
            spend(proxy)
            requests = receiver.wait(3)
            with self.subTest("one id, one body"):
                self.assertEqual(1, len({request.body for request in requests}))
                ids = {request.headers["idempotency-key"] for request in requests}
                self.assertEqual({json.loads(requests[0].body)["id"]}, ids)
            with self.subTest("signed with both secrets"):
                for request in requests:
                    self.assertTrue(is_signed(request, SECRET))
                    self.assertTrue(is_signed(request, NEXT_SECRET))
                    self.assertFalse(is_signed(request, "another secret"))
                    forged = request._replace(body=request.body.replace(b"search", b"blue"))
                    self.assertFalse(is_signed(forged, SECRET))
            with self.subTest("what it says"):
                notice = receiver.notices()[0]
                said = {key: notice[key] for key in ("version", "kind", "status", "tenant", "period")}
                self.assertEqual({"version": 1, "kind": "unpriced_spend", "status": "firing", "tenant": "search",
                                  "period": "day"}, said)
                self.assertEqual("/hook?token=in-the-url", requests[0].path)
            with self.subTest("the log and the metrics say so"):
                [line] = delivered(proxy, 1)
                self.assertEqual((3, "ops", None), (line["attempts"], line["outlet"], line["last_error"]))
                self.assertEqual(notice, line["notice"])
                self.assertEqual(1, proxy.metric("bedrock_meter_alerts_sent_total", outlet="ops", kind="unpriced_spend"))
                self.assertEqual(2, proxy.metric("bedrock_meter_alerts_failed_total", outlet="ops"))
            with self.subTest("no secret in the process's log"):
                text = proxy.text()
                self.assertIn("alert_delivered", text)
                for secret in (SECRET, NEXT_SECRET, "in-the-url"):
                    self.assertNotIn(secret, text)

    def test_more_of_the_same_and_a_restart_tell_nothing_new(self):
        with Workspace() as workspace:
            receiver, simulator = Receiver(), workspace.simulator()
            named = {"ops": webhook(receiver.url)}
            proxy = outlets(workspace, simulator, named)
            spend(proxy)
            delivered(proxy, 1)
            self.assertEqual(0, proxy.terminate())
            again = outlets(workspace, simulator, named)
            spend(again)
            # Another tenant's notice comes after whatever the first one's would have.
            spend(again, tenant="support")
            until("the second tenant", lambda: any(n["tenant"] == "support" for n in receiver.notices()))
            tenants = collections.Counter(notice["tenant"] for notice in receiver.notices())
            self.assertEqual({"search": 1, "support": 1}, tenants)

    def test_a_budget_tells_of_each_threshold_once_through_a_kill(self):
        budget = {"tenant": "search", "limit_usd": "0.001", "period": "month", "thresholds": [50, 100],
                  "outlets": ["ops"], "owner": "finops@example.org"}
        with Workspace() as workspace:
            receiver, simulator = Receiver(), workspace.simulator()

            def proxy():
                return workspace.proxy(simulator.url, budgets__search=budget, alerts={"timeout": "2s"},
                                       alerts__outlets__ops=webhook(receiver.url))

            first = proxy()
            pay(first)
            (half,) = [json.loads(request.body) for request in receiver.wait(1)]
            self.assertEqual(("threshold", "search", 50), (half["kind"], half["budget"], half["threshold_percent"]))
            self.assertEqual(("0.0006", "0.001"), (half["spent_usd"], half["limit_usd"]))
            delivered(first, 1)
            first.kill()
            again = proxy()
            pay(again)
            whole = json.loads(receiver.wait(2)[1].body)
            self.assertEqual(100, whole["threshold_percent"])
            delivered(again, 2)
            pay(again)
            # Another look of the thread, which finds nothing new.
            until("the third call in the gauges", lambda: again.metric(
                "bedrock_meter_budget_spent_usd", budget="search") > 0.0017)
            time.sleep(1.5)
            self.assertEqual(2, len({notice["id"] for notice in receiver.notices()}))
            self.assertEqual(2, len(receiver.requests))

    def test_a_kill_between_claim_and_answer_redelivers_under_the_same_id(self):
        with Workspace() as workspace:
            receiver, simulator = Receiver(), workspace.simulator()
            receiver.hold.set()
            named = {"ops": webhook(receiver.url)}
            proxy = outlets(workspace, simulator, named)
            spend(proxy)
            receiver.wait(1)
            proxy.kill()
            receiver.hold.clear()
            again = outlets(workspace, simulator, named)
            requests = receiver.wait(2)
            [line] = delivered(again, 1)
            self.assertEqual(1, len({request.headers["idempotency-key"] for request in requests}))
            self.assertEqual(1, len({request.body for request in requests}))
            self.assertEqual(2, line["attempts"])

    def test_two_processes_on_one_log_deliver_once(self):
        with Workspace() as one, Workspace() as other:
            receiver, simulator = Receiver(), one.simulator()
            file = str(one.path / "shared-alerts.sqlite3")
            proxies = [outlets(space, simulator, {"ops": webhook(receiver.url)}, file=file) for space in (one, other)]
            threads = [threading.Thread(target=spend, args=(proxy, tenant))
                       for proxy in proxies for tenant in ("red", "blue", "green")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # Each process tells of one tenant more: by then both have looked at the three.
            spend(proxies[0], "last-of-one")
            spend(proxies[1], "last-of-other")
            until("the last tenants", lambda: {"last-of-one", "last-of-other"} <= {
                notice["tenant"] for notice in receiver.notices()})
            told = collections.Counter(notice["tenant"] for notice in receiver.notices())
            self.assertEqual({"red": 1, "blue": 1, "green": 1, "last-of-one": 1, "last-of-other": 1}, told)

    def test_a_notice_that_nobody_takes_stays_visible_as_failed(self):
        with Workspace() as workspace:
            receiver = Receiver(answers=[404] * 1000)
            proxy = outlets(workspace, workspace.simulator(), {"ops": webhook(receiver.url)}, retry_for="1s")
            spend(proxy)
            [line] = until("a failed delivery", lambda: log(proxy, "--failed"))
            host = receiver.url.removeprefix("http://")
            self.assertEqual(f"{host} answered 404 Not Found", line["last_error"])
            self.assertEqual(1, proxy.metric("bedrock_meter_alerts_given_up_total", outlet="ops"))
            until("nothing pending", lambda: proxy.metric("bedrock_meter_alerts_pending") == 0)

    def test_a_log_that_cannot_be_written_delays_no_notice_and_is_a_notice_itself(self):
        with Workspace() as workspace:
            receiver = Receiver()
            missing = workspace.path / "later" / "alerts.sqlite3"
            proxy = outlets(workspace, workspace.simulator(), {"ops": webhook(receiver.url)}, file=str(missing))
            spend(proxy)
            kinds = lambda: {notice["kind"] for notice in receiver.notices()}
            until("both notices", lambda: {"unpriced_spend", "store_trouble"} <= kinds())
            missing.parent.mkdir()
            until("the file", lambda: missing.exists() and "alerts_log_recovered" in proxy.text())
            with contextlib.closing(sqlite3.connect(f"file:{missing}?mode=ro", uri=True)) as file:
                kept = dict(file.execute("select kind, delivered_at is not null from deliveries"))
            self.assertEqual({"unpriced_spend": 1, "store_trouble": 1}, kept)

    def test_a_ledger_that_cannot_be_written_is_told_of(self):
        with Workspace() as workspace:
            receiver = Receiver()
            proxy = outlets(workspace, workspace.simulator(), {"ops": webhook(receiver.url)})
            holder = sqlite3.connect(proxy.ledger / "ledger.sqlite3", isolation_level=None)
            holder.execute("begin exclusive")
            spend(proxy)
            until("trouble", lambda: any(n["kind"] == "store_trouble" for n in receiver.notices()), 60)
            holder.execute("rollback")
            holder.close()
            [notice] = [n for n in receiver.notices() if n["kind"] == "store_trouble"]
            self.assertEqual(("store=ledger", "critical"), (notice["subject"], notice["severity"]))
            self.assertEqual(1, len(proxy.wait_for_entries(1, 30)))

    def test_an_outlet_of_a_reload_is_told_and_prometheus_no_more(self):
        with Workspace() as workspace:
            receiver, simulator = Receiver(), workspace.simulator()
            proxy = outlets(workspace, simulator, {})
            spend(proxy)
            self.assertEqual(1, proxy.metric("bedrock_meter_alerting_info", kind="unpriced_spend", by="prometheus"))
            changes = {"alerts": {"default_outlets": ["ops"]}, "alerts__outlets__ops": webhook(receiver.url)}
            proxy.config.write_text(configuration(proxy.ledger, simulator.url, changes))
            proxy.process.send_signal(signal.SIGHUP)
            receiver.wait(1)
            self.assertEqual(1, proxy.metric("bedrock_meter_alerting_info", kind="unpriced_spend"))
            self.assertEqual(1, proxy.metric("bedrock_meter_alerting_info", kind="unpriced_spend", by="outlet"))

    def test_slack_and_sns_are_told_in_their_own_shapes(self):
        with Workspace() as workspace:
            slack, sns = Receiver(), Receiver()
            proxy = outlets(workspace, workspace.simulator(), {
                "chat": {"kind": "slack", "url": slack.url + "/services/T0/B0/secret"},
                "topic": {"kind": "sns", "topic_arn": TOPIC, "endpoint": sns.url},
            })
            spend(proxy)
            with self.subTest("slack"):
                [request] = slack.wait(1)
                message = json.loads(request.body)
                self.assertEqual({"text", "blocks"}, message.keys())
                self.assertIn("tenant search", message["text"])
                self.assertEqual(["section", "context"], [block["type"] for block in message["blocks"]])
                self.assertEqual("/services/T0/B0/secret", request.path)
            [request] = sns.wait(1)
            form = dict(urllib.parse.parse_qsl(request.body.decode(), strict_parsing=True))
            with self.subTest("sns"):
                self.assertEqual(("Publish", "2010-03-31", TOPIC),
                                 (form["Action"], form["Version"], form["TopicArn"]))
                message = json.loads(form["Message"])
                notice = json.loads(message["default"])
                self.assertEqual(notice["id"], form["MessageDeduplicationId"])
                self.assertLess(len(form["Subject"]), 100)
                self.assertIn(notice["summary"], message["email"])
            with self.subTest("signed as botocore signs it"):
                self.assertEqual(request.headers["authorization"], self.signed_by_botocore(sns.url, request))
            with self.subTest("the same notice"):
                self.assertEqual({notice["id"]}, {line["notice"]["id"] for line in delivered(proxy, 2)})

    @staticmethod
    def signed_by_botocore(url, request):
        """The authorization header that botocore makes of the request with the proxy's key."""
        scope = request.headers["authorization"]
        names = scope.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        headers = {name: request.headers[name] for name in names}
        made = botocore.awsrequest.AWSRequest("POST", url + "/", headers=headers, data=request.body)
        made.context["timestamp"] = request.headers["x-amz-date"]
        signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(*UPSTREAM_KEY), "sns", REGION)
        to_sign = signer.string_to_sign(made, signer.canonical_request(made))
        signature = signer.signature(to_sign, made)
        credential = f"{UPSTREAM_KEY[0]}/{request.headers['x-amz-date'][:8]}/{REGION}/sns/aws4_request"
        return (f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(names)}, "
                f"Signature={signature}")

    def test_test_alert_says_what_each_outlet_answered(self):
        with Workspace() as workspace:
            good, bad = Receiver(), Receiver(answers=[403])
            named = {"bad": webhook(bad.url), "good": webhook(good.url)}
            proxy = outlets(workspace, workspace.simulator(), named)
            command = ["budgets", "test-alert", "--config", proxy.config]
            code, printed = run(*command)
            with self.subTest("all of them"):
                self.assertEqual(1, code)
                self.assertRegex(printed, r"bad +webhook +no +127\.0\.0\.1:\d+ answered 403 Forbidden")
                self.assertRegex(printed, r"good +webhook +yes +200 OK")
            with self.subTest("one of them"):
                code, printed = run(*command, "--outlet", "good", "--budget", "search-month")
                self.assertEqual(0, code)
                self.assertEqual("search-month", good.notices()[1]["budget"])
                self.assertTrue(is_signed(good.requests[1], SECRET))
            with self.subTest("nothing is written down, and no secret is shown"):
                self.assertEqual([], log(proxy))
                self.assertNotIn("in-the-url", printed)
            with self.subTest("an outlet that is not there"):
                code, printed = run(*command, "--outlet", "goood")
                self.assertEqual(1, code)
                self.assertIn("there is no outlet goood", printed)

    def test_a_real_alertmanager_holds_the_alert_and_passes_it_on(self):
        with Workspace() as workspace, contextlib.ExitStack() as running:
            receiver = Receiver()
            first = running.enter_context(alertmanager(workspace.path, receiver.url))
            nobody = f"http://127.0.0.1:{free_port()}"
            named = {"manager": {"kind": "alertmanager", "urls": [nobody, first]}}
            proxy = outlets(workspace, workspace.simulator(), named)
            spend(proxy)
            [request] = receiver.wait(1)
            [told] = json.loads(request.body)["alerts"]
            [line] = delivered(proxy, 1)
            with self.subTest("labels and id"):
                self.assertEqual("firing", told["status"])
                self.assertEqual(
                    {"alertname": "BedrockMeterPriceMissing", "severity": "warning", "tenant": "search",
                     "subject": "tenant=search", "period": "day"}, told["labels"])
                self.assertEqual(line["notice"]["id"], told["annotations"]["notice_id"])
            [alert] = alerts_of(first)
            with self.subTest("it ends unless it is told again"):
                self.assertEqual("active", alert["status"]["state"])
                self.assertLess(alert["startsAt"], alert["endsAt"])
            with self.subTest("a restart tells again, and it stays one alert"):
                proxy.kill()
                outlets(workspace, workspace.simulator(name="again"), named)
                later = until("a later end", lambda: [
                    one for one in alerts_of(first) if one["endsAt"] > alert["endsAt"]])
                self.assertEqual([alert["fingerprint"]], [one["fingerprint"] for one in later])
                self.assertEqual(alert["startsAt"], later[0]["startsAt"])


class OfReplicas(replicas.OnPostgres):
    """Replicas with a directory each, one PostgreSQL and one webhook."""

    BUDGETS = {
        "budgets__search": {"tenant": "search", "limit_usd": "0.001", "period": "month", "thresholds": [50],
                            "outlets": ["ops"]},
        # Nobody is told of it: its gauge moves with each look of the thread.
        "budgets__looks": {"tenant": "search", "limit_usd": "1000", "period": "month"},
    }

    def setUp(self):
        super().setUp()
        self.receiver = Receiver()

    def teller(self, name, timeout="4s"):
        return self.replica(name, self.BUDGETS | {
            "alerts": {"default_outlets": ["ops"], "timeout": timeout},
            "alerts__outlets__ops": webhook(self.receiver.url)})

    def spent(self, proxy):
        return proxy.metric("bedrock_meter_budget_spent_usd", budget="looks")

    def look(self, proxy):
        """Returns when the thread has looked through once, from its beginning to its end."""
        for _ in range(2):
            before = self.spent(proxy)
            pay(proxy)
            self.wait_until("a look", lambda before=before: self.spent(proxy) > before)

    def has_unpriced(self, proxy, *tenants):
        """Returns when the sums that the thread looks at have calls of these without a price."""
        def shown(tenant):
            return proxy.metric("bedrock_meter_period_calls", tenant=tenant, price_status="unpriced", period="day")

        self.wait_until(f"{tenants} in the sums", lambda: all(shown(tenant) for tenant in tenants))

    def rows(self):
        """Of each notice in the log: standing and attempts, by id."""
        rows = self.server.sql("SELECT id, delivered_at IS NOT NULL, attempts FROM bedrock_meter.alert_deliveries")
        return {id_: (is_delivered == "t", int(attempts)) for id_, is_delivered, attempts in rows}

    def told_by(self, proxy):
        """The ids that this replica says that it has delivered."""
        events = [line for line in proxy.text().splitlines() if "alert_delivered" in line]
        return collections.Counter(re.search(r"\bid\W+([0-9a-f]{32})\b", line)[1] for line in events)

    def about(self):
        """What the webhook heard, by whom and what it is about."""
        return collections.Counter((n["kind"], n["tenant"]) for n in self.receiver.notices())

    def test_each_crossing_is_told_by_one_of_them_under_one_id_also_through_a_kill(self):
        proxies = [self.teller("one"), self.teller("two")]
        threads = [threading.Thread(target=spend, args=(proxy, tenant))
                   for proxy in proxies for tenant in ("red", "blue", "green")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for proxy in proxies:
            self.has_unpriced(proxy, "red", "blue", "green")
            self.look(proxy)
        expected = {("unpriced_spend", tenant): 1 for tenant in ("red", "blue", "green")}
        expected["threshold", "search"] = 1
        with self.subTest("both have seen them, one has told"):
            self.wait_until("they are told", lambda: len(self.receiver.requests) >= len(expected))
            self.assertEqual(expected, self.about())
            ids = {request.headers["idempotency-key"] for request in self.receiver.requests}
            self.assertEqual(len(expected), len(ids))
            self.wait_until("the log says so", lambda: self.rows() == dict.fromkeys(ids, (True, 1)))
        with self.subTest("who told is in their logs"):
            self.wait_until("they say so", lambda: sum(map(self.told_by, proxies), collections.Counter())
                            == collections.Counter(ids))
        with self.subTest("alerts log shows it to a reader, from anywhere"):
            code, printed = run("alerts", "log", "--config", self.config("reader"), "--format", "json")
            self.assertEqual(0, code, printed)
            self.assertEqual(ids, {line["notice"]["id"] for line in json.loads(printed)})
        with self.subTest("no replica has a log of its own"):
            self.assertEqual([], [p for p in proxies if (p.ledger / "alerts.sqlite3").exists()])
        with self.subTest("one is killed and starts again: nothing is told anew, and what is new once"):
            proxies[0].kill()
            proxies[0] = self.teller("one")
            spend(proxies[1], "yellow")
            for proxy in proxies:
                self.has_unpriced(proxy, "red", "blue", "green", "yellow")
                self.look(proxy)
            self.wait_until("it is told", lambda: len(self.receiver.requests) > len(expected))
            self.assertEqual(expected | {("unpriced_spend", "yellow"): 1}, self.about())
        self.assertEqual([0, 0], [proxy.terminate() for proxy in proxies])

    def test_a_kill_in_mid_delivery_leaves_it_to_the_other_under_the_same_id(self):
        dies, stays = self.teller("one"), self.teller("two")
        # So that it is certain who is in mid-delivery.
        stays.process.send_signal(signal.SIGSTOP)
        self.receiver.hold.set()
        spend(dies)
        self.receiver.wait(1)
        dies.kill()
        [(id_, (is_delivered, attempts))] = self.rows().items()
        self.assertFalse(is_delivered)
        stays.process.send_signal(signal.SIGCONT)
        self.receiver.hold.clear()
        # It is held for three times the limit of an attempt, and two seconds.
        self.receiver.wait(attempts + 1, 60)
        self.wait_until("it is delivered", lambda: self.rows() == {id_: (True, attempts + 1)})
        self.assertEqual({id_}, {request.headers["idempotency-key"] for request in self.receiver.requests})
        self.assertEqual(1, len({request.body for request in self.receiver.requests}))
        self.wait_until("it says so", lambda: self.told_by(stays) == {id_: 1})
        again = self.teller("one")
        self.has_unpriced(again, "search")
        self.look(again)
        self.assertEqual(attempts + 1, sum(n["kind"] == "unpriced_spend" for n in self.receiver.notices()))

    def test_a_server_that_is_away_is_told_of_by_each_under_one_id_and_nothing_is_told_anew(self):
        proxies = [self.teller("one"), self.teller("two")]
        spend(proxies[0], "red")
        for proxy in proxies:
            self.has_unpriced(proxy, "red")
            self.look(proxy)
        self.wait_until("they are told", lambda: {("unpriced_spend", "red"), ("threshold", "search")} <= self.about().keys())
        self.server.stop()
        self.wait_until("each tells of the log", lambda: sum(
            n["kind"] == "store_trouble" and n["subject"] == "store=alerts" for n in self.receiver.notices()) >= 2)
        self.server.start()
        for proxy in proxies:
            self.wait_until("the log is back", lambda proxy=proxy: "alerts_log_recovered" in proxy.text())
            self.look(proxy)
        spend(proxies[1], "blue")
        for proxy in proxies:
            self.has_unpriced(proxy, "red", "blue")
            self.look(proxy)
        self.wait_until("it is told", lambda: ("unpriced_spend", "blue") in self.about())
        about = self.about()
        with self.subTest("what the log had or has is told once"):
            for key in (("unpriced_spend", "red"), ("unpriced_spend", "blue"), ("threshold", "search")):
                self.assertEqual(1, about[key], key)
        with self.subTest("what each told from memory is in the log now"):
            self.wait_until("all is delivered", lambda: all(is_delivered for is_delivered, _ in self.rows().values()))
            told = {n["id"] for n in self.receiver.notices()}
            self.assertEqual(told, self.rows().keys())
        self.assertEqual([0, 0], [proxy.terminate() for proxy in proxies])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def alerts_of(manager):
    with urllib.request.urlopen(f"{manager}/api/v2/alerts", timeout=10) as answer:
        return json.load(answer)


@contextlib.contextmanager
def alertmanager(directory, receiver):
    """An Alertmanager that passes on what it is told without a wait."""
    names = ("prometheus-alertmanager", "alertmanager")
    program = next((name for name in names if shutil.which(name)), None)
    if not program:
        raise RuntimeError("no program prometheus-alertmanager: apt-get install prometheus-alertmanager")
    port, file = free_port(), pathlib.Path(directory) / "alertmanager.yml"
    route = {"receiver": "hook", "group_wait": "0s", "group_interval": "1s", "group_by": ["..."]}
    hook = {"name": "hook", "webhook_configs": [{"url": receiver, "send_resolved": True}]}
    file.write_text(json.dumps({"route": route, "receivers": [hook]}))  # JSON is YAML
    process = subprocess.Popen([
        program, f"--config.file={file}", f"--storage.path={file.parent / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=error",
    ])
    url = f"http://127.0.0.1:{port}"

    def is_ready():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
            return answer.status == 200

    try:
        until("Alertmanager", is_ready)
        yield url
    finally:
        process.terminate()
        process.wait(20)
