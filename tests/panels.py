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

ROOT = pathlib.Path(__file__).resolve().parent.parent
DASHBOARDS = ROOT / "grafana" / "dashboards"
WAIT_SECONDS = 60
# What has no series until the event happens: a dashboard of a quiet proxy is empty there.
EVENTS = (
    "unpriced_requests_total", "usage_estimated_total", "usage_missing_total",
    "estimated_cost_usd_total", "refused_total", "client_retries_total",
    "client_disconnects_total", "drained_streams_total", "ledger_errors_total",
    "credentials_expiry_seconds", "price_catalogue_age_seconds", "buffered_bytes", 'outcome!="success"', "label_overflow_total",
)
# What the traffic of `--binary` does not cause.
NOT_CAUSED = (
    "ledger_errors_total", "credentials_expiry_seconds",
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
        return rows[0][1] if rows else 0

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
            "static_configs": [{"targets": [url.netloc]}],
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
        references = [target["refId"] for target in panel["targets"]]
        if len(references) != len(set(references)):
            raise Failed(f"{name}: panel {panel['title']} has two queries of one name")


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


def variables():
    values = {"tenant": ".*", "application": ".*", "model": ".*"}
    return values | {"__rate_interval": "10s", "__range": "1h", "__interval": "1s"}


def check_variables(server, dashboard):
    """The lists that a user chooses from have something to choose."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
        if not asked:
            raise Failed(f"variable {variable['name']}: {variable['definition']}")
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
    for title, period in (("Today", "day"), ("This month", "month"),
                          ("Today by team", "day"), ("Month by team", "month"),
                          ("Today by application", "day"), ("Month by application", "month")):
        found = [query for _, panel, query in panels() if panel["title"] == title]
        if len(found) != 1:
            raise Failed(f"no single money panel {title}")
        kept = ledger_sums(ledger, period)
        rows = server.instant(filled(found[0], variables()))
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


def check_growth(server, series, exact):
    """A counter shown as an amount includes the first value of a series that is new."""
    query = next(query for _, panel, query in panels() if panel["title"] == "Spend in the range by model")
    rows = server.instant(filled(query, variables()))
    compare("Spend in the range by model", {row["model"]: value for row, value in rows}, {series: exact})


# --- The self test ------------------------------------------------------------------------------


EXPORTER_GAUGES = """
bedrock_meter_period_cost_usd{tenant="team",application="app",period="day"} 0.0035
bedrock_meter_period_cost_usd{tenant="team",application="app",period="month"} 1.2535
bedrock_meter_period_cost_usd{tenant="single",application="call",period="day"} 0.25
bedrock_meter_period_cost_usd{tenant="single",application="call",period="month"} 0.25
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
        count = check_panels(server, EVENTS, 30)
        must_fail("missing data", check_panels, server, (), 30)
        must_fail("a wrong query", server.instant, "sum(")
        check_growth(server, "m", 0.0035)
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
            call(address, tenant, application, "converse-stream", simulate="frames=5")
        call(address, "support", "assistant", simulate="status=500")
        call(address, "support", "assistant", simulate="no-usage")
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
        file.write_text(configuration(directory, upstream, free_port(), free_port()))
        with process([binary, "serve", "--config", str(file)], **pipes) as proxy:
            return check_running(proxy, directory)


def check_running(proxy, directory):
    log = []
    admin = announced(proxy, proxy.stdout, "admin listener", log)
    line = re.compile(r"data listener\s+http://([^\s/]+)")
    data = until("the data listener", lambda: line.search("\n".join(log)))
    address, stopped = data[1], threading.Event()
    ledger = directory / "data" / "ledger.sqlite3"
    with prometheus(admin + "/metrics", directory) as server:
        if call(address, "search", "ranker") != 200:
            raise Failed("the first call was refused: " + "\n".join(log[-20:]))
        clients = threading.Thread(target=traffic, args=(address, stopped), daemon=True)
        try:
            clients.start()
            server.await_scrapes(12)
            count = check_panels(server, NOT_CAUSED, 30)
        finally:
            stopped.set()
            clients.join()
        until("the panels to equal the ledger", lambda: check_money(server, ledger), 30)
        check_guard(server, address, ledger)
    return count


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
                count = check_binary(str(pathlib.Path(chosen.binary).resolve()), directory)
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
