#!/usr/bin/env python3
"""Runs the query of every Grafana panel against a real Prometheus that scraped a real run.

    tests/panels.py                                   self test, with a small exporter of its own
    tests/panels.py --binary target/release/bedrock-meter
                                                      simulator, proxy and traffic, then the panels
    tests/panels.py --metrics-url http://127.0.0.1:8081/metrics [--ledger ledger.sqlite3]
                                                      the panels of a proxy that runs already

A query fails when Prometheus refuses it, or when it gives no number where there must be one. With
a ledger, the money panels must equal the ledger's own sums, added in exact integers here.
Needs the program `prometheus` (Debian: `apt-get install prometheus`); Python's library only.
"""

import argparse
import contextlib
import datetime
import fractions
import http.client
import http.server
import json
import math
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
DASHBOARDS = ROOT / "grafana" / "dashboards"
WAIT_SECONDS = 60
REPLICAS = ("replica-1", "replica-2")
# What has no series until the event happens: a dashboard of a quiet proxy is empty there.
EVENTS = (
    "unpriced_requests_total", "usage_estimated_total", "usage_missing_total",
    "estimated_cost_usd_total", "refused_total", "client_retries_total",
    "client_disconnects_total", "drained_streams_total", "ledger_errors_total",
    "cost_change_usd", "period_waste_usd", 'kind="cache_read"',
    "credentials_expiry_seconds", "price_catalogue_age_seconds", "buffered_bytes", 'outcome!="success"', "label_overflow_total",
)
# What the traffic of `--binary` does not cause.
NOT_CAUSED = (
    "ledger_errors_total", "credentials_expiry_seconds",
    "label_overflow_total",  # caused, and looked for, after the panels
    "budget_", "alerts_", "limit_",  # looked for in check_budgets
)


class Failed(Exception):
    """A check that failed; the message says which."""


def until(what, probe, seconds=WAIT_SECONDS):
    """Polls until `probe` gives something true; fails with the last thing it said."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            found = probe()
            if found:
                return found
        except (Failed, OSError, urllib.error.URLError) as cause:
            last = cause
        time.sleep(0.2)
    raise Failed(f"waited {seconds} s for {what}" + (f": {last}" if last else ""))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(arguments, **options):
    running = subprocess.Popen(arguments, **options)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(timeout=20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


# --- Prometheus ---------------------------------------------------------------------------------


class Prometheus:
    """A Prometheus of our own that scrapes one exporter every second."""

    def __init__(self, port):
        self.api = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, path, **parameters):
        url = self.api + path + "?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            raise Failed(refused.read().decode()) from None

    def instant(self, query):
        """A list of (labels, value); numbers only."""
        rows = self.ask("query", query=query)["result"]
        return [(row["metric"], float(row["value"][1])) for row in rows]

    def numbers(self, query, seconds):
        """Every number that the query gave within the last seconds."""
        now = time.time()
        rows = self.ask("query_range", query=query, start=now - seconds, end=now, step=1)["result"]
        return [float(value) for row in rows for _, value in row["values"] if value != "NaN"]

    def scrapes(self):
        rows = self.instant('count_over_time(up{job="bedrock-meter"}[1h])')
        return min(value for _, value in rows) if len(rows) == len(REPLICAS) else 0

    def await_scrapes(self, more):
        """Waits until that many scrapes more have succeeded."""
        goal = self.scrapes() + more
        until(f"{goal} scrapes", lambda: self.scrapes() >= goal)
        for target in self.ask("targets")["activeTargets"]:
            if target["health"] != "up":
                raise Failed(f"the scrape fails: {target['lastError']}")


@contextlib.contextmanager
def prometheus(metrics_url, directory):
    if not shutil.which("prometheus"):
        raise Failed("no program `prometheus`: apt-get install prometheus")
    url = urllib.parse.urlsplit(metrics_url)
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{
            "job_name": "bedrock-meter",
            "scheme": url.scheme,
            "metrics_path": url.path,
            # Two targets that show one ledger, as two replicas on one store would: every series
            # is there twice, and a sum over replicas would double the money.
            "static_configs": [
                {"targets": [url.netloc], "labels": {"instance": replica}} for replica in REPLICAS
            ],
        }],
    }
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(configuration))  # JSON is YAML
    port = free_port()
    arguments = [
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]
    with process(arguments):
        server = Prometheus(port)
        until("Prometheus", lambda: server.scrapes() >= 1)
        yield server


# --- Panels -------------------------------------------------------------------------------------


def panels():
    """Every (dashboard, panel, query), rows left out."""
    files = sorted(DASHBOARDS.glob("*.json"))
    if not files:
        raise Failed(f"no dashboards in {DASHBOARDS}")
    for file in files:
        dashboard = json.loads(file.read_text())
        check_model(file.name, dashboard)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield dashboard, panel, target["expr"]


def check_model(name, dashboard):
    """What Grafana needs of the model and does not say when it is wrong."""
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        raise Failed(f"{name}: two panels have one id")
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if place["x"] + place["w"] > 24 or cells & taken:
            raise Failed(f"{name}: panel {panel['title']} lies over another or outside the grid")
        taken |= cells
        if panel["type"] == "row":
            continue
        if not panel.get("targets") or panel["datasource"]["uid"] != "${datasource}":
            raise Failed(f"{name}: panel {panel['title']} has no query or its own data source")
        if not panel["description"] or not panel["fieldConfig"]["defaults"]["unit"]:
            raise Failed(f"{name}: panel {panel['title']} has no description or no unit")
        references = [target["refId"] for target in panel["targets"]]
        if len(references) != len(set(references)):
            raise Failed(f"{name}: panel {panel['title']} has two queries of one name")
        for target in panel["targets"]:
            if target["datasource"]["uid"] != "${datasource}":
                raise Failed(f"{name}: a query of {panel['title']} has its own data source")
    check_references(name, dashboard)


def check_references(name, dashboard):
    """Links lead to dashboards that exist; every variable that is used is defined, and used."""
    uids = {json.loads(file.read_text())["uid"] for file in DASHBOARDS.glob("*.json")}
    linked = {link["url"].removeprefix("/d/") for link in dashboard["links"]}
    if linked != uids - {dashboard["uid"]}:
        raise Failed(f"{name}: links to {sorted(linked)}")
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    queries = json.dumps(dashboard["panels"])
    used = set(re.findall(r"\$\{?(\w+)", queries)) - {"__rate_interval", "__range"}
    if used != defined:
        raise Failed(f"{name}: variables defined {sorted(defined)}, used {sorted(used)}")


def check_names():
    """Every metric that a query names is documented; the dashboards are what the script writes."""
    documented = set(re.findall(r"`(bedrock_meter_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    for _, panel, query in panels():
        for name in re.findall(r"bedrock_meter_\w+", query):
            if name.removesuffix("_bucket") not in documented:
                raise Failed(f"{panel['title']}: {name} is not in docs/metrics.md")
    built = subprocess.run([sys.executable, ROOT / "grafana" / "build.py", "--check"], check=False)
    if built.returncode:
        raise Failed("grafana/build.py --check")


def filled(query, values):
    """The query with its variables put in, as Grafana does it."""
    for name in sorted(values, key=len, reverse=True):
        query = query.replace("${" + name + "}", values[name]).replace("$" + name, values[name])
    if "$" in query:
        raise Failed(f"a variable without a value in: {query}")
    return query


def variables(**chosen):
    """What Grafana puts in for "All", or for what is chosen."""
    values = {"tenant": ".*", "application": ".*", "model": ".*"} | chosen
    return values | {"__rate_interval": "10s", "__range": "1h", "__interval": "1s"}


# Choices that must be well formed, whatever they find: one value and several, as Grafana writes
# them for Prometheus.
CHOICES = (
    {"tenant": "search"},
    {"tenant": "(search|support)", "application": "(ranker|assistant)"},
    {"tenant": "nobody", "model": "(a\\\\.b|c)"},
)


def panel_query(board, title, number=0):
    """The query of a panel by dashboard and title."""
    found = [
        panel for dashboard, panel, _ in panels()
        if dashboard["uid"] == f"bedrock-meter-{board}" and panel["title"] == title
    ]
    if not found:
        raise Failed(f"no panel {title} on the dashboard {board}")
    return found[0]["targets"][number]["expr"]


def check_variables(server, dashboard):
    """The lists that a user chooses from have something to choose."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        if not asked:
            raise Failed(f"variable {variable['name']}: {variable['query']}")
        metric, label = asked.groups()
        if not server.ask(f"label/{label}/values", **{"match[]": metric}):
            raise Failed(f"variable {variable['name']} has no values")


def check_panels(server, may_be_empty, seconds):
    """Runs every query of every dashboard; returns how many."""
    checked, problems, seen = 0, [], set()
    check_names()
    for dashboard, panel, expression in panels():
        if dashboard["uid"] not in seen:
            seen.add(dashboard["uid"])
            check_variables(server, dashboard)
        query = filled(expression, variables())
        try:
            given = [value for _, value in server.instant(query) if not math.isnan(value)]
            given = given or server.numbers(query, seconds)
            if not given and not any(word in query for word in may_be_empty):
                problems.append(f"{panel['title']}: no data: {query}")
            for choice in CHOICES:
                server.instant(filled(expression, variables(**choice)))
        except Failed as cause:
            problems.append(f"{panel['title']}: {cause}: {query}")
        checked += 1
    if problems:
        raise Failed("\n".join(problems))
    return checked


# --- Money --------------------------------------------------------------------------------------


def ledger_sums(file, period):
    """{(tenant, application): exact dollars} of the current UTC day or month."""
    start = datetime.datetime.now(datetime.timezone.utc)
    start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "month":
        start = start.replace(day=1)
    query = """
        SELECT tenant, application, sum(cost_microusd), sum(cost_femtousd) FROM entries
        WHERE opened_at >= ? AND cost_microusd IS NOT NULL GROUP BY tenant, application"""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
        rows = ledger.execute(query, (int(start.timestamp() * 1000),)).fetchall()
    micro, femto = fractions.Fraction(1, 10**6), fractions.Fraction(1, 10**15)
    return {(tenant, app): whole * micro + rest * femto for tenant, app, whole, rest in rows}


def compare(name, shown, kept):
    """Numbers of a panel against exact sums, within float error."""
    for key in shown.keys() | kept.keys():
        panel, exact = shown.get(key, 0.0), float(kept.get(key, 0))
        if not math.isclose(panel, exact, rel_tol=1e-12, abs_tol=1e-12):
            raise Failed(f"{name}: {key}: the panel shows {panel!r}, the ledger has {exact!r}")


def by_shown_names(kept, shown):
    """The ledger's sums under the names that the panel has: what it lacks is in `other`."""
    sums = {}
    for (tenant, application), amount in kept.items():
        key = (tenant, application)
        if key not in shown and (tenant, "other") in shown:
            key = (tenant, "other")
        sums[key] = sums.get(key, 0) + amount
    return sums


def check_money(server, ledger):
    """The money panels equal the ledger, as a total, by team and by application."""
    for board, title, period in (
        ("overview", "Today", "day"), ("overview", "This month", "month"),
        ("team", "Today", "day"), ("team", "This month", "month"),
        ("overview", "Today by team", "day"), ("overview", "Month by team", "month"),
        ("overview", "Today by application", "day"), ("overview", "Month by application", "month"),
    ):
        query = panel_query(board, title)
        kept = ledger_sums(ledger, period)
        rows = server.instant(filled(query, variables()))
        if title.endswith("application"):
            shown = {(row["tenant"], row["application"]): value for row, value in rows}
            compare(title, shown, by_shown_names(kept, shown))
        elif title.endswith("team"):
            teams = {}
            for (tenant, _), amount in kept.items():
                teams[tenant] = teams.get(tenant, 0) + amount
            compare(title, {row["tenant"]: value for row, value in rows}, teams)
        else:
            compare(title, {"": rows[0][1] if rows else 0.0}, {"": sum(kept.values())})
    return True


def report(binary, directory, by, period):
    """{group: exact dollars} as `bedrock-meter report` prints them."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    first = today if period == "day" else today.replace(day=1)
    printed = subprocess.run(
        [binary, "report", "--by", by, "--from", str(first), "--format", "json", "--ledger", directory],
        check=True, capture_output=True, text=True).stdout
    rows = json.loads(printed)["rows"]
    return {row[by] or "none": fractions.Fraction(row["cost_usd"]) for row in rows if row["cost_usd"]}


def charged_by_kind(file, period):
    """{kind: exact dollars} of the charge lines of calls that have a cost."""
    start = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    start = start if period == "day" else start.replace(day=1)
    query = """
        SELECT l.dimension, l.quantity, l.femtousd_per_unit
        FROM charge_lines AS l JOIN entries AS e USING (call_id)
        WHERE e.opened_at >= ? AND e.cost_microusd IS NOT NULL"""
    sums = {}
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
        for name, quantity, price in ledger.execute(query, (int(start.timestamp() * 1000),)):
            kind = name.removesuffix("_tokens")
            sums[kind] = sums.get(kind, 0) + fractions.Fraction(quantity * int(price), 10**15)
    return sums


def shown_by(server, query, label, **chosen):
    return {row.get(label, ""): value for row, value in server.instant(filled(query, variables(**chosen)))}


def check_reported(server, binary, directory):
    """The panels by team and by model equal `bedrock-meter report`; those by kind the charge lines."""
    for word, period in (("Today", "day"), ("Month", "month")):
        for by, title in (("tenant", "team"), ("model", "model")):
            shown = shown_by(server, panel_query("overview", f"{word} by {title}"), by)
            compare(f"{word} by {title}", shown, report(binary, directory, by, period))
        shown = shown_by(server, panel_query("overview", f"{word} by kind"), "kind")
        compare(f"{word} by kind", shown, charged_by_kind(directory / "ledger.sqlite3", period))
    total = sum(report(binary, directory, "tenant", "day").values())
    trust = [panel_query("overview", "Dollars today by source", number) for number in (0, 1)]
    compare("Dollars today by source", {"": sum(sum(shown_by(server, one, "").values()) for one in trust)}, {"": total})
    return True


# --- The self test ------------------------------------------------------------------------------


EXPORTER_GAUGES = """
bedrock_meter_period_cost_usd{tenant="team",application="app",period="day"} 0.0035
bedrock_meter_period_cost_usd{tenant="team",application="app",period="month"} 1.2535
bedrock_meter_period_cost_usd{tenant="single",application="call",period="day"} 0.25
bedrock_meter_period_cost_usd{tenant="single",application="call",period="month"} 0.25
bedrock_meter_period_model_cost_usd{tenant="team",model="m",kind="input",period="day"} 0.0035
bedrock_meter_period_model_cost_usd{tenant="team",model="m",kind="input",period="month"} 1.2535
bedrock_meter_period_source_cost_usd{tenant="team",usage_source="reported",period="day"} 0.0035
bedrock_meter_period_source_cost_usd{tenant="team",usage_source="reported",period="month"} 1.2535
bedrock_meter_period_source_cost_usd{tenant="team",usage_source="estimated",period="day"} 0
bedrock_meter_period_source_cost_usd{tenant="team",usage_source="estimated",period="month"} 0
bedrock_meter_period_calls{tenant="team",usage_source="reported",price_status="unpriced",period="day"} 1
bedrock_meter_period_calls{tenant="team",usage_source="reported",price_status="unpriced",period="month"} 1
bedrock_meter_period_tokens{tenant="team",usage_source="reported",price_status="unpriced",period="day"} 9
bedrock_meter_period_tokens{tenant="team",usage_source="reported",price_status="unpriced",period="month"} 9
bedrock_meter_build_info{version="test"} 1
bedrock_meter_cost_usd_total{tenant="team",application="app",model="m",kind="input"} 0.0035
bedrock_meter_in_flight_requests 1
bedrock_meter_open_drains 0
bedrock_meter_oldest_open_call_seconds 2
bedrock_meter_buffered_bytes 0
bedrock_meter_ledger_queue_depth 0
bedrock_meter_price_catalogue_info{version="test"} 1
bedrock_meter_price_catalogue_age_seconds 60
"""


class Exporter(http.server.BaseHTTPRequestHandler):
    """Metrics that grow by one with every scrape."""

    scrapes = 0

    def do_GET(self):
        Exporter.scrapes += 1
        body = (EXPORTER_GAUGES + self.growing(Exporter.scrapes)).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @staticmethod
    def growing(n):
        call = 'tenant="team",application="app",model="m"'
        lines = [
            f'bedrock_meter_requests_total{{{call},operation="Converse",outcome="success"}} {n}',
            f'bedrock_meter_tokens_total{{{call},kind="input"}} {n}',
            f'bedrock_meter_upstream_requests_total{{account="",region="us-east-1",model="m",status="200"}} {n}',
            f"bedrock_meter_ledger_entries_total {n}",
        ]
        for name, labels in (
            ("request_duration_seconds", 'model="m",operation="Converse",'),
            ("time_to_first_token_seconds", 'model="m",operation="Converse",'),
            ("output_tokens_per_second", 'model="m",operation="Converse",'),
            ("overhead_seconds", 'operation="Converse",phase="signing",'),
            ("ledger_commit_seconds", ""),
        ):
            for bound in ("1", "+Inf"):
                lines.append(f'bedrock_meter_{name}_bucket{{{labels}le="{bound}"}} {n}')
        return "\n".join(lines) + "\n"

    def log_message(self, *_):
        pass


def fake_ledger(file):
    """A ledger with the sums that the exporter shows; one call of a month before is not in them."""
    now = int(time.time() * 1000)
    month = datetime.datetime.now(datetime.timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    month = int(month.timestamp() * 1000)
    rows = [
        (now, "team", "app", 3500, 0),
        (month, "team", "app", 1_250_000, 0),
        (now, "single", "call", 249_999, 1_000_000_000),
        (month - 1, "team", "app", 5_000_000, 0),
        (now, "team", "app", None, None),
    ]
    with contextlib.closing(sqlite3.connect(file)) as ledger:
        ledger.execute("CREATE TABLE entries (opened_at, tenant, application, cost_microusd, cost_femtousd)")
        ledger.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
        ledger.commit()


class BudgetExporter(http.server.BaseHTTPRequestHandler):
    """Two budgets of known numbers, of which one grows with every scrape, notices, and a limit."""

    scrapes = 0

    def do_GET(self):
        BudgetExporter.scrapes += 1
        search = 'budget="search",tenant="search",subject="tenant=search",period="month"'
        all_ = 'budget="all",tenant="",subject="",period="rolling 24h"'
        amounts = ((search, 200, 50 + BudgetExporter.scrapes / 1000, 10, 150), (all_, 1000, 995, 20, None))
        lines = ['bedrock_meter_period_cost_usd{tenant="search",application="a",period="day"} 1',
                 "bedrock_meter_alerts_pending 2",
                 'bedrock_meter_alerts_sent_total{outlet="ops",kind="threshold"} 3',
                 'bedrock_meter_alerts_failed_total{outlet="ops"} 1',
                 'bedrock_meter_limit_use_ratio{limit="teams",kind="requests"} 0.75',
                 'bedrock_meter_limit_refused_total{limit="teams",mode="enforce"} 7',
                 'bedrock_meter_limit_refused_total{limit="teams",mode="observe"} 2']
        for labels, *values in amounts:
            for name, value in zip(("limit", "spent", "reserved", "forecast"), values):
                if value is not None:
                    lines.append(f"bedrock_meter_budget_{name}_usd{{{labels}}} {value}")
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def check_budgets(directory):
    """The dashboard of budgets shows what is worked out here by hand, once for both replicas."""
    directory.mkdir()
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), BudgetExporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    board = [one for one in panels() if one[0]["uid"] == "bedrock-meter-budgets"]
    with prometheus(f"http://127.0.0.1:{exporter.server_port}/metrics", directory) as server:
        server.await_scrapes(5)
        for _, panel, expression in board:
            query = filled(expression, variables())
            if not server.instant(query) and not server.numbers(query, 30):
                raise Failed(f"{panel['title']}: no data: {query}")
        for title, search, all_ in (
            ("Share spent", 0.25, 0.995), ("Left", 140, 0), ("Held", 10, 20), ("Spent", 50, 995),
            ("Forecast against limit", 0.75, None),
        ):
            shown = shown_by(server, panel_query("budgets", title), "budget")
            for name, expected in (("search", search), ("all", all_)):
                found = shown.get(name)
                # The growing budget has gained cents by now.
                same = found == expected if None in (found, expected) else math.isclose(found, expected, rel_tol=0.01)
                if not same:
                    raise Failed(f"{title}: {name} shows {found}, not {expected}")
        runway = shown_by(server, panel_query("budgets", "Runway in days"), "budget")
        gained = server.instant('max(increase(bedrock_meter_budget_spent_usd{budget="search"}[1d]))')[0][1]
        if set(runway) != {"search"} or not math.isclose(runway["search"], 140 / gained, rel_tol=0.2):
            raise Failed(f"the runway is {runway}, and a day took {gained} of 140")
        # Two replicas: what each refused is summed, how full a limit is is not.
        for title, expected in (
            ("How full limits are", 0.75), ("Refused in the range", 14), ("Would have been refused in the range", 4),
        ):
            found = shown_by(server, panel_query("budgets", title), "limit")
            if found != {"teams": expected}:
                raise Failed(f"{title}: {found}, not {expected}")
        if shown_by(server, panel_query("budgets", "Left"), "budget", tenant="search").keys() != {"search"}:
            raise Failed("a team's choice shows budgets of others")
    exporter.shutdown()
    return len(board)


def must_fail(what, check, *arguments):
    try:
        check(*arguments)
    except Failed:
        return
    raise Failed(f"the self test: {what} was not noticed")


def self_test(directory):
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    ledger = directory / "ledger.sqlite3"
    fake_ledger(ledger)
    if datetime.datetime.now(datetime.timezone.utc).day == 1:
        print("first day of the month: the fake month's start lies in today; money is not compared")
        ledger = None
    with prometheus(f"http://127.0.0.1:{exporter.server_port}/metrics", directory) as server:
        server.await_scrapes(5)
        count = check_panels(server, (*EVENTS, "budget_", "alerts_", "limit_"), 30)
        must_fail("missing data", check_panels, server, (), 30)
        must_fail("a wrong query", server.instant, "sum(")
        if ledger:
            check_money(server, ledger)
            with contextlib.closing(sqlite3.connect(ledger)) as changed:
                changed.execute("UPDATE entries SET cost_femtousd = 999000000 WHERE cost_femtousd > 0")
                changed.commit()
            must_fail("a microdollar's difference", check_money, server, ledger)
    exporter.shutdown()
    return count


# --- The program --------------------------------------------------------------------------------


MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
ACCESS_KEY, SECRET_KEY = "AKIASIMULATOREXAMPLE", "simulator/secret/EXAMPLEKEY"


def announced(running, stream, what, log):
    """The address in the line `<what> http://host:port` that a process prints at its start."""
    found = {}

    def read():
        for line in stream:
            log.append(line.rstrip())
            match = re.search(re.escape(what) + r"\s+(http://\S+)", line)
            if match:
                found.setdefault("url", match[1].rstrip("/"))

    threading.Thread(target=read, daemon=True).start()

    def probe():
        if running.poll() is not None:
            raise Failed("it ended: " + "\n".join(log[-20:]))
        return found.get("url")

    return until(what, probe)


def configuration(directory, simulator, data, admin):
    return f'''
[listener]
listen = "127.0.0.1:{data}"

[admin]
listen = "127.0.0.1:{admin}"

[upstream]
regions = ["us-east-1"]
default_region = "us-east-1"

[upstream.endpoints]
us-east-1 = "{simulator}"

[upstream.credentials]
access_key_id = "{ACCESS_KEY}"
secret_access_key = "{SECRET_KEY}"

[ledger]
directory = "{directory / 'data'}"

[shutdown]
drain_delay = "0s"
'''


def call(address, tenant, application, operation="converse", model=MODEL, simulate="", headers=(), leave=False):
    """One call to the proxy; its status. `leave`: hang up after the first bytes of the answer."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]})
    fields = {
        "content-type": "application/json",
        "x-bedrock-meter-tenant": tenant,
        "x-bedrock-meter-application": application,
        **({"x-simulate": simulate} if simulate else {}),
        **dict(headers),
    }
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", f"/model/{urllib.parse.quote(model, safe='')}/{operation}", body, fields)
        answer = connection.getresponse()
        answer.read(16 if leave else None)
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def traffic(address, stopped):
    """A few teams, every kind of event that a panel shows, until told to stop."""
    retried = (("amz-sdk-request", "attempt=2; max=3"),)
    turn = 0
    while not stopped.is_set():
        turn += 1
        for tenant, application in (("search", "ranker"), ("search", "indexer"), ("support", "assistant")):
            call(address, tenant, application)
            call(address, tenant, application, "converse-stream", simulate="frames=30,frame-delay-ms=10")
            call(address, tenant, application, simulate="cache-read=50")
        call(address, "support", "assistant", simulate="status=500")
        call(address, "support", "assistant", simulate="no-usage")  # estimated
        call(address, "support", "assistant", "converse-stream", simulate="frames=9,garbage-after=4")  # missing
        call(address, "support", "assistant", model="example.unknown-model-v9:0")
        call(address, "support", "assistant", "converse-stream", simulate="frames=9,reset-after=4")
        call(address, "support", "assistant", headers=retried)
        call(address, "support", "assistant", "converse-stream", simulate="frames=9,frame-delay-ms=30", leave=True)
        call(address, "-not a name-", "assistant")  # refused
        stopped.wait(0.2)


def check_guard(server, address, ledger):
    """After one tenant's junk names, a new team's only call has its series and its dollars."""
    for junk in range(300):
        call(address, "noisy", f"junk-{junk}", simulate="input=1,output=1")
    call(address, "newcomer", "first-app", simulate="input=1000,output=100")
    until("the newcomer's dollars", lambda: [
        value for _, value in server.instant(
            'bedrock_meter_period_cost_usd{tenant="newcomer",application="first-app",period="day"}')
        if value > 0])
    for query in ('bedrock_meter_requests_total{tenant="newcomer",application="first-app"}',
                  'bedrock_meter_period_cost_usd{tenant="noisy",application="other"}',
                  'bedrock_meter_label_overflow_total{limit="application"}'):
        if not server.instant(query):
            raise Failed(f"no series: {query}")
    until("the panels to equal the ledger", lambda: check_money(server, ledger), 30)


def check_binary(binary, directory):
    simulate = [binary, "simulate", "--listen", "127.0.0.1:0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": directory}
    with process(simulate, **pipes) as simulator:
        upstream = announced(simulator, simulator.stdout, "simulator listening on", [])
        file = directory / "bedrock-meter.toml"
        data, admin = free_port(), free_port()
        file.write_text(configuration(directory, upstream, data, admin))
        serve = [binary, "serve", "--config", str(file)]
        address, ledger = f"127.0.0.1:{data}", directory / "data" / "ledger.sqlite3"
        with contextlib.ExitStack() as later:
            with process(serve, **pipes) as proxy:
                url = announced(proxy, proxy.stdout, "admin listener", [])
                server = later.enter_context(prometheus(url + "/metrics", directory))
                # A team with one single call, before the restart.
                until("the single call", lambda: call(address, "single", "once") == 200)
                with clients_of(address):
                    server.await_scrapes(5)
            history = write_history(ledger)
            with process(serve, **pipes) as proxy:
                announced(proxy, proxy.stdout, "admin listener", [])
                with clients_of(address):
                    server.await_scrapes(12)
                    count = check_panels(server, NOT_CAUSED, 30)
                until("the panels to equal the ledger", lambda: check_money(server, ledger), 30)
                until("the panels to equal the report",
                      lambda: check_reported(server, binary, directory / "data"), 30)
                check_single(server)
                check_history(server, history)
                check_guard(server, address, ledger)
    return count


@contextlib.contextmanager
def clients_of(address):
    stopped = threading.Event()
    clients = threading.Thread(target=traffic, args=(address, stopped), daemon=True)
    clients.start()
    try:
        yield
    finally:
        stopped.set()
        clients.join()


def check_single(server):
    """One call, made before the restart: both replicas show it, the panel shows it once."""
    both = server.instant('bedrock_meter_period_cost_usd{tenant="single",period="day"}')
    if len(both) != len(REPLICAS):
        raise Failed(f"not one series for each replica: {both}")
    shown = shown_by(server, panel_query("team", "Top applications today"), "application", tenant="single")
    compare("the team with a single call", shown, {"once": both[0][1]})
    if not shown["once"] > 0:
        raise Failed(f"the team with a single call shows {shown}")


# --- A ledger with a past -----------------------------------------------------------------------


def row(ledger, opened, tenant, dimension, quantity, nanodollars, **more):
    """One priced call, written as docs/ledger.md describes the table."""
    call_id = str(uuid.uuid4())
    micro, nano = divmod(quantity * nanodollars, 1000)
    line = {"dimension": dimension, "quantity": quantity, "rate": "test",
            "femtousd_per_unit": str(nanodollars * 10**6)}
    columns = {
        "call_id": call_id, "opened_at": opened, "settled_at": opened, "tenant": tenant,
        "application": "app", "operation": "Converse", "model": "past", "region": "us-east-1",
        "outcome": "success", "request_bytes": 1, "response_bytes": 1, "duration_ms": 1,
        "usage_source": "reported", "read_from": "body", "disagreement": 0, "price_status": "priced",
        "cost_microusd": micro, "cost_femtousd": nano * 10**6, "lines": json.dumps([line]),
        "catalogue": "test",
    } | more
    marks = ", ".join("?" * len(columns))
    ledger.execute(f"INSERT INTO entries ({', '.join(columns)}) VALUES ({marks})", list(columns.values()))
    for table, length in (("rollup_hours", 3_600_000), ("rollup_days", 86_400_000)):
        roll_up(ledger, table, length, columns)


def roll_up(ledger, table, length, entry):
    """Adds the entry to the sums of its hour or day, as docs/ledger.md describes them."""
    tokens = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens",
              "cache_write_30m_tokens", "cache_write_1h_tokens")
    key = {name: entry.get(name) for name in (
        "tenant", "application", "operation", "region", "outcome", "usage_source", "price_status", "catalogue")}
    key |= {"begins_at": entry["opened_at"] // length * length, "model": entry["model"] or "",
            "tier": entry.get("tier_served") or entry.get("tier_asked") or "standard"}
    sums = {name: entry.get(name) or 0 for name in ("cost_microusd", "cost_femtousd", *tokens)} | {"calls": 1}
    columns = key | sums
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
    ledger.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {added}", list(columns.values()))


def write_history(file):
    """Rows of days and hours before now, in the ledger of a proxy that does not run.

    None in the first two hours of a UTC day: they would fall on the day before."""
    now = datetime.datetime.now(datetime.timezone.utc)
    if now.hour < 2:
        print("the first two hours of a UTC day: changes and waste are not compared with prepared rows")
    now = int(now.timestamp() * 1000)
    minute, hour, day = 60_000, 3_600_000, 86_400_000
    with contextlib.closing(sqlite3.connect(file)) as ledger:
        row(ledger, now - 10 * day, "history", "input_tokens", 1, 1)
        for ago in (day + minute, day + 2 * minute):  # yesterday: 2 calls, 200 x $0.01 = $2
            row(ledger, now - ago, "history", "input_tokens", 100, 10_000_000)
        if (now + hour) // day == now // day:
            row(ledger, now - day + hour, "history", "input_tokens", 100, 10_000_000)  # later than now
        row(ledger, now - 7 * day - minute, "history", "input_tokens", 100, 20_000_000)  # $2
        for _ in range(2):  # today: 200 x $0.012 and 50 x $0.1 = $7.4
            row(ledger, now - minute, "history", "input_tokens", 100, 12_000_000)
        row(ledger, now - minute, "history", "output_tokens", 50, 100_000_000)
        left = {"outcome": "client_left", "sdk_attempt": 1}
        row(ledger, now - minute, "wasteful", "input_tokens", 3, 10**8, sdk_invocation_id="a", **left)
        row(ledger, now - minute, "wasteful", "input_tokens", 3, 10**8, sdk_invocation_id="a", sdk_attempt=2)
        row(ledger, now - minute, "wasteful", "input_tokens", 7, 10**7, sdk_invocation_id="b", **left)
        row(ledger, now - 90 * minute, "wasteful", "cache_write_5m_tokens", 5, 10**8)
        row(ledger, now - 80 * minute, "wasteful", "cache_write_5m_tokens", 9, 10**8)
        row(ledger, now - 77 * minute, "wasteful", "cache_read_tokens", 1, 10**6, cache_read_tokens=1)
        ledger.commit()
    return datetime.datetime.now(datetime.timezone.utc).hour >= 2


def check_history(server, comparable):
    """Hand-computed: docs/metrics.md has the definitions.

    Since yesterday $2 -> $7.4: 3 calls for 2 at $1 each is +1; 200 tokens at .012 for .010 is +.4;
    the rest +4. Since last week $2 -> $7.4: 3 calls for 1 at $2 is +4; 200 tokens at .012 for .020
    is -1.6; the rest +3."""
    if not comparable:
        return
    expected = {
        "yesterday": {"volume": 1, "price": 0.4, "mix": 4},
        "last week": {"volume": 4, "price": -1.6, "mix": 3},
    }
    for board in ("overview", "team"):
        for since, parts in expected.items():
            chosen = {"tenant": "history"}
            shown = shown_by(server, panel_query(board, f"Why, since {since}"), "effect", **chosen)
            compare(f"{board}: why, since {since}", shown, parts)
            whole = shown_by(server, panel_query(board, f"Change since {since}"), "", **chosen)
            compare(f"{board}: change since {since}", whole, {"": 5.4})
    wasted = {"Retried attempts": 0.3, "Abandoned calls": 0.07, "Cache writes never read": 0.5}
    for title, dollars in wasted.items():
        for when in ("today", "this month"):
            shown = shown_by(server, panel_query("models", f"{title}, {when}"), "model", tenant="wasteful")
            compare(f"{title}, {when}", shown, {"past": dollars})


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--binary", help="run this bedrock-meter")
    arguments.add_argument("--metrics-url", help="scrape this exporter")
    arguments.add_argument("--ledger", help="compare the money panels with this ledger")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="panels-") as folder:
        directory = pathlib.Path(folder)
        try:
            if chosen.binary:
                count = check_budgets(directory / "budgets")
                count += check_binary(str(pathlib.Path(chosen.binary).resolve()), directory)
            elif chosen.metrics_url:
                with prometheus(chosen.metrics_url, directory) as server:
                    server.await_scrapes(5)
                    count = check_panels(server, EVENTS, 30)
                    if chosen.ledger:
                        until("the panels to equal the ledger",
                              lambda: check_money(server, pathlib.Path(chosen.ledger)), 30)
            else:
                count = self_test(directory)
        except Failed as cause:
            sys.exit(f"panels: {cause}")
    print(f"panels: {count} queries gave what they must")


if __name__ == "__main__":
    main()
