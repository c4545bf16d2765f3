#!/usr/bin/env python3
"""Builds the Grafana dashboards of this folder from the short descriptions below.

    grafana/build.py           writes dashboards/*.json
    grafana/build.py --check   fails when a committed file differs from what would be written

Money panels read the ledger-backed gauge `period_cost_usd`, as `max` over replicas: every replica
reads the same ledger. Counters are used for rates; where a counter is shown as an amount, the
series that began within the range count in full, which `increase()` alone would lose.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
M = "bedrock_meter_"

CALLER = 'tenant=~"$tenant",application=~"$application"'
CALL = CALLER + ',model=~"$model"'
TENANT_MODEL = 'tenant=~"$tenant",model=~"$model"'
MODEL = 'model=~"$model"'


def spent(period, by=""):
    """Dollars of the current day or month, from the ledger."""
    once = f'max by (tenant, application) ({M}period_cost_usd{{period="{period}",{CALLER}}})'
    return f"sum{' by (' + by + ')' if by else ''} ({once})"


def rate(metric, labels, by=""):
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({M}{metric}{{{labels}}}[$__rate_interval]))"


def grown(metric, labels, by):
    """What a counter gained in the range: new series count from their first value."""
    series = f"{M}{metric}{{{labels}}}"
    fresh = f"({series} unless {series} offset $__range)"
    return f"sum by ({by}) ({fresh} or increase({series}[$__range]))"


def quantile(q, metric, labels, by):
    buckets = f"rate({M}{metric}_bucket{{{labels}}}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by (le{', ' + by if by else ''}) ({buckets}))"


def target(expr, legend="", instant=False, ref="A"):
    return {
        "datasource": DATASOURCE,
        "refId": ref,
        "expr": expr,
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
        "editorMode": "code",
        "format": "time_series",
    }


def panel(kind, title, width, height, targets, unit, description, options=None, custom=None):
    defaults = {
        "unit": unit,
        "color": {"mode": "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}]},
        "mappings": [],
    }
    if custom:
        defaults["custom"] = custom
    if unit == "currencyUSD":
        defaults["decimals"] = 4
    for ref, one in zip("ABCDEFGH", targets):
        one["refId"] = ref
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options or {},
        "targets": targets,
    }


def number(title, expr, unit, description, width=4):
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
    }
    return panel("stat", title, width, 4, [target(expr, instant=True)], unit, description, options)


def bars(title, expr, legend, unit, description, width=8):
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "text",
        "showUnfilled": True,
        "minVizHeight": 16,
        "minVizWidth": 8,
    }
    lines = f"sort_desc({expr})"
    targets = [target(lines, legend, instant=True)]
    return panel("bargauge", title, width, 8, targets, unit, description, options)


def curves(title, targets, unit, description, width=8, stacked=False):
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 20 if stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, width, 8, targets, unit, description, options, custom)


def row(title):
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"w": 24, "h": 1, "x": 0, "y": 0},
        "panels": [],
    }


USD = "currencyUSD"


def overview_panels():
    yield row("Money")
    yield number(
        "Spend now, per hour", rate("cost_usd_total", CALL) + " * 3600", USD,
        "Dollars per hour at the current rate, from counters.")
    yield number("Today", spent("day"), USD, "Since midnight UTC, from the ledger.")
    yield number("This month", spent("month"), USD, "Since the first of the month UTC, from the ledger.")
    yield number(
        "Unpriced calls", f"sum({grown('unpriced_requests_total', TENANT_MODEL, 'tenant')}) or vector(0)",
        "short", "Calls in the range without a price: the amounts are at least what is shown.")
    yield number(
        "Calls with estimated usage",
        f"sum({grown('usage_estimated_total', TENANT_MODEL, 'tenant')}) or vector(0)",
        "short", "Calls in the range whose usage Bedrock did not report.")
    yield number(
        "Calls in flight", f"sum({M}in_flight_requests)", "short", "Admitted and not ended, all replicas.")
    yield bars(
        "Today by team", spent("day", "tenant"), "{{tenant}}", USD, "From the ledger.")
    yield bars(
        "Today by application", spent("day", "tenant, application"), "{{tenant}} / {{application}}", USD,
        "From the ledger.")
    yield curves(
        "Spend per hour by team", [target(rate("cost_usd_total", CALL, "tenant") + " * 3600", "{{tenant}}")],
        USD, "Rates, from counters.", stacked=True)
    yield bars(
        "Month by team", spent("month", "tenant"), "{{tenant}}", USD, "From the ledger.")
    yield bars(
        "Month by application", spent("month", "tenant, application"), "{{tenant}} / {{application}}", USD,
        "From the ledger.")
    yield curves(
        "Tokens per second by kind", [target(rate("tokens_total", CALL, "kind"), "{{kind}}")],
        "short", "Tokens of every class.", stacked=True)
    yield bars(
        "Spend in the range by model", grown("cost_usd_total", CALL, "model"), "{{model}}", USD,
        "From counters over the time range: for the month to date choose that range. "
        "`bedrock-meter report` has the exact amounts.")
    yield bars(
        "Spend in the range by token kind", grown("cost_usd_total", CALL, "kind"), "{{kind}}", USD,
        "From counters over the time range; exact amounts: `bedrock-meter report`.")
    yield bars(
        "Unpriced calls by team and reason", grown("unpriced_requests_total", TENANT_MODEL, "tenant, reason"),
        "{{tenant}}: {{reason}}", "short", "Usage is kept and can be priced later.", width=4)
    yield bars(
        "Estimated dollars by team and reason",
        grown("estimated_cost_usd_total", TENANT_MODEL, "tenant, reason"),
        "{{tenant}}: {{reason}}", USD, "The part of the spend that rests on estimated usage.", width=4)

    yield row("Speed")
    yield curves(
        "Time to first token", [
            target(quantile(0.5, "time_to_first_token_seconds", MODEL, "model"), "{{model}} p50"),
            target(quantile(0.95, "time_to_first_token_seconds", MODEL, "model"), "{{model}} p95"),
        ], "s", "From admission to the first generated content of a stream.")
    yield curves(
        "Duration", [
            target(quantile(0.5, "request_duration_seconds", MODEL, "model"), "{{model}} p50"),
            target(quantile(0.95, "request_duration_seconds", MODEL, "model"), "{{model}} p95"),
        ], "s", "From admission to the end of the answer.")
    yield curves(
        "Time added by the proxy", [
            target(quantile(0.5, "overhead_seconds", "", "phase"), "{{phase}} p50"),
            target(quantile(0.99, "overhead_seconds", "", "phase"), "{{phase}} p99"),
        ], "s", "What the proxy itself added, by phase.")

    yield row("Calls and failures")
    yield curves(
        "Calls per second by operation", [target(rate("requests_total", CALL, "operation"), "{{operation}}")],
        "reqps", "Settled calls.", stacked=True)
    yield curves(
        "Failures per second", [
            target(rate("requests_total", CALL + ',outcome!="success"', "outcome"), "{{outcome}}"),
        ], "reqps", "Settled calls that did not end well, by outcome.", stacked=True)
    yield curves(
        "Answers of Bedrock by status", [
            target(rate("upstream_requests_total", MODEL, "region, status"), "{{region}} {{status}}"),
        ], "reqps", "Attempts sent to Bedrock; none: no answer came.", stacked=True)
    yield bars(
        "Refused in the range", grown("refused_total", 'tenant=~"$tenant|unproven"', "tenant, reason"),
        "{{tenant}}: {{reason}}", "short", "Refused by the proxy; never reached Bedrock.")
    yield bars(
        "Usage missing in the range", grown("usage_missing_total", TENANT_MODEL, "model, reason"),
        "{{model}}: {{reason}}", "short", "Calls whose usage is unknown.")
    yield curves(
        "Retries, disconnects, drained streams", [
            target(rate("client_retries_total", 'tenant=~"$tenant"'), "SDK retries"),
            target(rate("client_disconnects_total", 'tenant=~"$tenant"'), "client left"),
            target(rate("drained_streams_total", 'tenant=~"$tenant"'), "drained"),
        ], "reqps", "What clients did.")

    yield row("Ledger and process")
    yield curves(
        "Ledger", [
            target(f"sum({M}ledger_queue_depth)", "waiting entries"),
            target(rate("ledger_entries_total", ""), "entries per second"),
            target(rate("ledger_errors_total", "", "kind"), "errors per second: {{kind}}"),
        ], "short", "Entries waiting for their commit, committed, failed.", width=6)
    yield curves(
        "Ledger commit", [
            target(quantile(0.5, "ledger_commit_seconds", "", ""), "p50"),
            target(quantile(0.99, "ledger_commit_seconds", "", ""), "p99"),
        ], "s", "Time of one commit.", width=6)
    yield curves(
        "Open calls", [
            target(f"sum({M}in_flight_requests)", "in flight"),
            target(f"sum({M}open_drains)", "draining"),
            target(f"max({M}oldest_open_call_seconds)", "age of the oldest, seconds"),
        ], "short", "Calls in flight and streams read on after their client left.", width=6)
    yield curves(
        "Request bytes in memory", [target(f"sum({M}buffered_bytes)", "bytes")],
        "bytes", "Bodies gathered for signing.", width=6)
    yield number(
        "Age of the price catalogue", f"max({M}price_catalogue_age_seconds)", "s", "Oldest of all replicas.", 6)
    yield number(
        "AWS credentials expire in", f"min({M}credentials_expiry_seconds)", "s",
        "Soonest of all replicas; no data where they do not expire.", 6)
    yield number(
        "Label values replaced", f"sum({M}label_overflow_total) or vector(0)", "short",
        "Times that a limit put `other` in place of a name.", 6)
    yield number(
        "Price catalogues in use", f"count(count by (version) ({M}price_catalogue_info))", "short",
        "More than one: replicas price differently.", 6)


def placed(panels):
    """Sets ids and positions: left to right, as wide as they say, rows on their own line."""
    x = y = height = 0
    for number_, one in enumerate(panels, start=1):
        position = one["gridPos"]
        if x + position["w"] > 24 or one["type"] == "row":
            x, y, height = 0, y + height, 0
        position["x"], position["y"] = x, y
        one["id"] = number_
        x, height = x + position["w"], max(height, position["h"])
        yield one


def variable(name, metric):
    query = f"label_values({M}{metric}, {name})"
    return {
        "type": "query",
        "name": name,
        "label": name,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def overview():
    source = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }
    return {
        "uid": "bedrock-meter-overview",
        "title": "bedrock-meter overview",
        "description": "Who spends what on Amazon Bedrock, and whether the proxy is well.",
        "tags": ["bedrock-meter"],
        "schemaVersion": 39,
        "version": 1,
        "id": None,
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now/d", "to": "now"},
        "timepicker": {},
        "weekStart": "",
        "links": [],
        "annotations": {"list": []},
        "templating": {
            "list": [
                source,
                variable("tenant", "period_cost_usd"),
                variable("application", "period_cost_usd"),
                variable("model", "requests_total"),
            ],
        },
        "panels": list(placed(overview_panels())),
    }


def main():
    path = HERE / "dashboards" / "bedrock-meter-overview.json"
    text = json.dumps(overview(), indent=2) + "\n"
    if "--check" in sys.argv[1:]:
        if not path.exists() or path.read_text() != text:
            sys.exit(f"{path.name} is not what grafana/build.py writes: run it and commit")
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
