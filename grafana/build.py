#!/usr/bin/env python3
"""Builds the Grafana dashboards of this folder from the short descriptions below.

    grafana/build.py           writes dashboards/*.json
    grafana/build.py --check   fails when a committed file differs from what would be written

Money panels read ledger-backed gauges, as `max` over replicas: every replica reads the same
ledger. Counters are used for rates; where a counter is shown as an amount, the
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


def ledger(metric, series, labels, by=""):
    """A gauge of the ledger: one replica's value of each of its series, then their sum.

    `series` are all labels that the gauge has."""
    once = f"max by ({series}) ({M}{metric}{{{labels}}})"
    return f"sum{' by (' + by + ')' if by else ''} ({once})"


def spent(period, by=""):
    """Dollars of the current day or month."""
    return ledger("period_cost_usd", "tenant, application", f'period="{period}",{CALLER}', by)


def by_model(period, by):
    labels = f'period="{period}",{TENANT_MODEL}'
    return ledger("period_model_cost_usd", "tenant, model, kind", labels, by)


def trusted(period, source, by=""):
    labels = f'period="{period}",usage_source="{source}",tenant=~"$tenant"'
    return ledger("period_source_cost_usd", "tenant, usage_source", labels, by)


def unpriced(metric, period, by=""):
    labels = f'period="{period}",price_status="unpriced",tenant=~"$tenant"'
    return ledger(metric, "tenant, usage_source, price_status", labels, by)


def changed(since, by, labels=CALLER):
    labels = f'since="{since}",{labels}'
    return ledger("cost_change_usd", "tenant, application, since, effect", labels, by)


def wasted(period, cause, by):
    labels = f'period="{period}",cause="{cause}",{TENANT_MODEL}'
    return ledger("period_waste_usd", "tenant, model, cause", labels, by)


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


def bars(title, expr, legend, unit, description, width=8, targets=None):
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "text",
        "showUnfilled": True,
        "minVizHeight": 16,
        "minVizWidth": 8,
    }
    targets = targets or [target(f"sort_desc({expr})", legend, instant=True)]
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
LEDGER = "From the ledger, once however many replicas show it."


def money_rows():
    """Spend of today and of the month, cut four ways."""
    for title, period in (("Today", "day"), ("Month", "month")):
        yield bars(f"{title} by team", spent(period, "tenant"), "{{tenant}}", USD, LEDGER, width=6)
        yield bars(
            f"{title} by application", spent(period, "tenant, application"),
            "{{tenant}} / {{application}}", USD, LEDGER, width=6)
        yield bars(f"{title} by model", by_model(period, "model"), "{{model}}", USD, LEDGER, width=6)
        yield bars(
            f"{title} by kind", by_model(period, "kind"), "{{kind}}", USD,
            LEDGER + " Token classes and other units.", width=6)


def movers(by, legend):
    for title, since, then in (
        ("yesterday", "yesterday", "the same hours of yesterday"),
        ("last week", "last_week", "the same hours of the day a week ago"),
    ):
        described = f"Today so far less {then}. No data: the ledger does not reach back that far."
        yield number(f"Change since {title}", changed(since, ""), USD, described)
        yield bars(
            f"Why, since {title}", changed(since, "effect"), "{{effect}}", USD,
            described + " Volume: more or fewer calls. Price: the same at another price. "
            "Mix: other models, kinds or lengths. They add up to the change.")
        yield bars(f"Who, since {title}", changed(since, by), legend, USD, described, width=12)


def overview_panels():
    yield row("Money")
    yield number("Today", spent("day"), USD, "Since midnight UTC. " + LEDGER)
    yield number("This month", spent("month"), USD, "Since the first of the month UTC. " + LEDGER)
    yield number(
        "Spend now, per hour", rate("cost_usd_total", CALL) + " * 3600", USD,
        "Dollars per hour at the current rate, from counters.")
    yield curves(
        "Spend per hour by team", [target(rate("cost_usd_total", CALL, "tenant") + " * 3600", "{{tenant}}")],
        USD, "Rates, from counters.", width=12, stacked=True)
    yield from money_rows()

    yield row("How sure")
    for title, period in (("today", "day"), ("this month", "month")):
        yield bars(
            f"Dollars {title} by source", None, "", USD,
            "What rests on usage that Bedrock reported and on estimates. Unpriced calls have no "
            "dollars: with any of them the sum is a lower bound. " + LEDGER,
            targets=[
                target(trusted(period, "reported"), "reported", instant=True),
                target(trusted(period, "estimated"), "estimated", instant=True),
            ])
        yield number(
            f"Unpriced calls {title}", unpriced("period_calls", period), "short",
            "Calls without a price: nothing is known of their dollars. No data: there was none this month.", 2)
        yield number(
            f"Unpriced tokens {title}", unpriced("period_tokens", period), "short",
            "Tokens of calls without a price.", 2)
    yield bars(
        "Unpriced calls by team and reason", grown("unpriced_requests_total", TENANT_MODEL, "tenant, reason"),
        "{{tenant}}: {{reason}}", "short", "In the time range, from counters. Usage is kept and can be priced later.")
    yield bars(
        "Estimated calls by team and reason", grown("usage_estimated_total", TENANT_MODEL, "tenant, reason"),
        "{{tenant}}: {{reason}}", "short", "In the time range, from counters. Bedrock did not report their usage.")
    yield bars(
        "Usage missing by model and reason", grown("usage_missing_total", TENANT_MODEL, "model, reason"),
        "{{model}}: {{reason}}", "short", "In the time range, from counters. Their usage is unknown.")

    yield row("What changed")
    yield from movers("tenant, application", "{{tenant}} / {{application}}")


def team_panels():
    yield row("Spend")
    yield number("Today", spent("day"), USD, "Since midnight UTC. " + LEDGER)
    yield number("This month", spent("month"), USD, "Since the first of the month UTC. " + LEDGER)
    yield number("Unpriced calls today", unpriced("period_calls", "day"), "short",
                 "Their dollars are unknown. No data: there was none this month.")
    yield curves(
        "Spend per hour by application",
        [target(rate("cost_usd_total", CALL, "application") + " * 3600", "{{application}}")],
        USD, "Rates, from counters.", width=12, stacked=True)
    yield bars(
        "Top applications today", f"topk(10, {spent('day', 'tenant, application')})",
        "{{tenant}} / {{application}}", USD, LEDGER)
    yield bars(
        "Top applications this month", f"topk(10, {spent('month', 'tenant, application')})",
        "{{tenant}} / {{application}}", USD, LEDGER)
    yield bars("Month by model", by_model("month", "model"), "{{model}}", USD, LEDGER)
    yield row("What changed")
    yield from movers("tenant, application", "{{tenant}} / {{application}}")
    yield row("Speed and errors")
    yield curves(
        "Calls per second by application", [target(rate("requests_total", CALL, "application"), "{{application}}")],
        "reqps", "Settled calls.", stacked=True)
    yield curves(
        "Failures per second by outcome",
        [target(rate("requests_total", CALL + ',outcome!="success"', "outcome"), "{{outcome}}")],
        "reqps", "Settled calls that did not end well.", stacked=True)
    yield curves(
        "Tokens per second by kind", [target(rate("tokens_total", CALL, "kind"), "{{kind}}")],
        "short", "Tokens of every class.", stacked=True)
    yield curves(
        "Duration of the models in use", used_by_team("request_duration_seconds"),
        "s", "From admission to the end of the answer, for the models that the team used in the time "
        "range. Calls of every team: latency has no tenant label.")
    yield curves(
        "Time to first token of the models in use", used_by_team("time_to_first_token_seconds"),
        "s", "As the panel beside it, to the first generated content of a stream.")
    yield bars(
        "Refused in the range", grown("refused_total", 'tenant=~"$tenant"', "tenant, reason"),
        "{{tenant}}: {{reason}}", "short", "Refused by the proxy; never reached Bedrock.")


def used_by_team(metric):
    """Quantiles of the models for which the chosen team has calls."""
    used = f"group by (model) (last_over_time({M}requests_total{{{CALL}}}[$__range]))"
    return [
        target(f"{quantile(q, metric, MODEL, 'model')} and on (model) {used}", "{{model}} " + name)
        for q, name in ((0.5, "p50"), (0.95, "p95"))
    ]


def models_panels():
    yield row("Speed")
    yield curves(
        "Output tokens per second", [
            target(quantile(0.5, "output_tokens_per_second", MODEL, "model"), "{{model}} p50"),
            target(quantile(0.05, "output_tokens_per_second", MODEL, "model"), "{{model}} p5"),
        ], "short", "Of one stream, from its first generated content to its end.")
    yield curves(
        "Time to first token", quantiles("time_to_first_token_seconds"),
        "s", "From admission to the first generated content of a stream.")
    yield curves(
        "Duration", quantiles("request_duration_seconds"), "s", "From admission to the end of the answer.")
    yield curves(
        "Tokens per second by model", [target(rate("tokens_total", CALL, "model"), "{{model}}")],
        "short", "Tokens of every class, all calls together.", stacked=True)
    yield curves(
        "Failures per second by model",
        [target(rate("requests_total", CALL + ',outcome!="success"', "model, outcome"), "{{model}} {{outcome}}")],
        "reqps", "Settled calls that did not end well.", stacked=True)
    yield curves(
        "Answers of Bedrock by status",
        [target(rate("upstream_requests_total", MODEL, "region, status"), "{{region}} {{status}}")],
        "reqps", "Attempts sent to Bedrock; none: no answer came.", stacked=True)
    yield row("Cache")
    prompt = 'kind=~"input|cache_read|cache_write_.*"'
    yield curves(
        "Share of prompt tokens read from cache",
        [target(rate("tokens_total", CALL + ',kind="cache_read"', "model") + " / "
                + rate("tokens_total", f"{CALL},{prompt}", "model"), "{{model}}")],
        "percentunit", "Of all prompt tokens: plain, read from and written to a cache. Only models "
        "that reported cache reads.")
    for title, period in (("today", "day"), ("this month", "month")):
        yield bars(
            f"Cache writes never read, {title}", wasted(period, "cache_write_never_read", "model"),
            "{{model}}", USD, "Cost of writes whose life ended without any read by that team and model: "
            "a lower bound. " + LEDGER)
    yield row("Paid for nothing")
    for cause, title, what in (
        ("retried", "Retried attempts", "Charged attempts that failed for the client and that its SDK sent again. "),
        ("abandoned", "Abandoned calls", "Charged calls whose client left and did not come back. "),
    ):
        for when, period in (("today", "day"), ("this month", "month")):
            yield bars(f"{title}, {when}", wasted(period, cause, "model"), "{{model}}", USD, what + LEDGER, width=6)


def quantiles(metric):
    return [
        target(quantile(q, metric, MODEL, "model"), "{{model}} " + name)
        for q, name in ((0.5, "p50"), (0.95, "p95"))
    ]


def health_panels():
    yield row("Calls")
    yield number("Calls in flight", f"sum({M}in_flight_requests)", "short", "Admitted and not ended, all replicas.")
    yield number(
        "Oldest open call", f"max({M}oldest_open_call_seconds)", "s", "Of all replicas.")
    yield number("Streams drained now", f"sum({M}open_drains)", "short", "Read on after their client left.")
    yield number("Entries waiting", f"sum({M}ledger_queue_depth)", "short", "Settled calls that wait for their commit.")
    yield number(
        "AWS credentials expire in", f"min({M}credentials_expiry_seconds)", "s",
        "Soonest of all replicas; no data where they do not expire.")
    yield number(
        "Age of the price catalogue", f"max({M}price_catalogue_age_seconds)", "s", "Oldest of all replicas.")
    yield curves(
        "Open calls", [
            target(f"sum({M}in_flight_requests)", "in flight"),
            target(f"sum({M}open_drains)", "draining"),
        ], "short", "Calls in flight and streams read on after their client left.")
    yield curves(
        "Retries, disconnects, drained streams", [
            target(rate("client_retries_total", 'tenant=~"$tenant"'), "SDK retries"),
            target(rate("client_disconnects_total", 'tenant=~"$tenant"'), "client left"),
            target(rate("drained_streams_total", 'tenant=~"$tenant"'), "drained"),
        ], "reqps", "What clients did.")
    yield curves(
        "Request bytes in memory", [target(f"sum({M}buffered_bytes)", "bytes")],
        "bytes", "Bodies gathered for signing.")
    yield row("Ledger")
    yield curves(
        "Queue", [
            target(f"sum({M}ledger_queue_depth)", "waiting entries"),
            target(f"sum({M}spill_entries)", "in the spill"),
        ], "short", "Settled calls that wait for their commit, in memory and in the spill.", width=6)
    yield curves(
        "Commit", [
            target(quantile(0.5, "ledger_commit_seconds", "", ""), "p50"),
            target(quantile(0.99, "ledger_commit_seconds", "", ""), "p99"),
        ], "s", "Time of one commit.", width=6)
    yield curves(
        "Entries per second", [target(rate("ledger_entries_total", ""), "committed")],
        "cps", "Entries committed, all replicas.", width=6)
    yield curves(
        "Ledger errors per second", [target(rate("ledger_errors_total", "", "kind"), "{{kind}}")],
        "cps", "Failures to write or read the ledger; none: no data.", width=6)
    yield row("What the proxy adds and refuses")
    yield curves(
        "Time added by the proxy", [
            target(quantile(0.5, "overhead_seconds", "", "phase"), "{{phase}} p50"),
            target(quantile(0.99, "overhead_seconds", "", "phase"), "{{phase}} p99"),
        ], "s", "What the proxy itself added, by phase.")
    yield bars(
        "Refused in the range", grown("refused_total", 'tenant=~"$tenant|unproven"', "tenant, reason"),
        "{{tenant}}: {{reason}}", "short", "Refused by the proxy; never reached Bedrock.")
    yield bars(
        "Label values replaced", f"sum by (limit) ({M}label_overflow_total)", "{{limit}}", "short",
        "Times that a limit put `other` in place of a name, since the start of each replica.")
    yield number(
        "Price catalogues in use", f"count(count by (version) ({M}price_catalogue_info))", "short",
        "More than one: replicas price differently.", 6)
    yield number(
        "Versions in use", f"count(count by (version) ({M}build_info))", "short",
        "More than one: an upgrade is under way.", 6)


BUDGET = "budget, tenant, subject, period"
BUDGET_NAME = "{{budget}} {{subject}}"
ONE_READING = "One reading of all replicas. "


def budget(amount):
    """A gauge of budgets: the same on each replica."""
    return f'max by ({BUDGET}) ({M}budget_{amount}_usd{{tenant=~"$tenant"}})'


def left():
    return f"clamp_min({budget('limit')} - {budget('spent')} - {budget('reserved')}, 0)"


def runway():
    """Not of windows that move: what leaves them makes their spend fall."""
    grown_ = f'increase({M}budget_spent_usd{{tenant=~"$tenant",period!~"rolling.*"}}[1d])'
    return f"{left()} / (max by ({BUDGET}) ({grown_}) > 0)"


def budgets_panels():
    share = f"{budget('spent')} / ({budget('limit')} > 0)"
    yield row("Where budgets stand")
    yield bars("Share spent", share, BUDGET_NAME, "percentunit", ONE_READING + "Of the limit, in the current period.")
    yield bars("Left", left(), BUDGET_NAME, USD, ONE_READING + "The limit less what is spent and what is held.")
    yield bars(
        "Runway in days", f"sort({runway()})", BUDGET_NAME, "d",
        "How long what is left lasts at the spend of the last day. Not of rolling windows.",
        targets=[target(f"sort({runway()})", BUDGET_NAME, instant=True)])
    yield bars("Spent", budget("spent"), BUDGET_NAME, USD, ONE_READING + "Settled calls of the current period.")
    yield bars("Held", budget("reserved"), BUDGET_NAME, USD, ONE_READING + "For calls in flight: the most that they can cost.")
    yield bars(
        "Forecast against limit", f"{budget('forecast')} / ({budget('limit')} > 0)", BUDGET_NAME, "percentunit",
        "A straight line through what was spent so far, at the end of the period. No data in its first "
        "twentieth, and of rolling windows.")
    yield row("Over time")
    yield curves(
        "Spent and limit", [
            target(budget("spent"), BUDGET_NAME + " spent"),
            target(budget("limit"), BUDGET_NAME + " limit"),
        ], USD, "Of the period that was current then.", width=12)
    yield curves(
        "Held", [target(budget("reserved"), BUDGET_NAME)], USD, "For calls in flight.", width=6)
    yield curves(
        "Forecast", [target(budget("forecast"), BUDGET_NAME)], USD,
        "For the end of the period, as it was foretold then.", width=6)
    yield row("Notices")
    yield number("Not delivered", f"max({M}alerts_pending)", "short", "Deliveries that wait, of the replica with most.")
    yield bars(
        "Delivered in the range", grown("alerts_sent_total", "", "outlet, kind"), "{{outlet}}: {{kind}}", "short",
        "Notices that an outlet took.", width=10)
    yield bars(
        "Failed attempts in the range", grown("alerts_failed_total", "", "outlet"), "{{outlet}}", "short",
        "`bedrock-meter alerts log` says why.", width=10)
    yield row("Rate limits")
    yield bars(
        "How full limits are", f"max by (limit, kind) ({M}limit_use_ratio)", "{{limit}}: {{kind}}", "percentunit",
        "The fullest counter of each, on the replica where it is fullest.")
    yield bars(
        "Refused in the range", grown("limit_refused_total", 'mode="enforce"', "limit"), "{{limit}}", "short",
        "Calls that found no room. Names that begin with `account.` are quotas of the AWS account.")
    yield bars(
        "Would have been refused in the range", grown("limit_refused_total", 'mode="observe"', "limit"), "{{limit}}",
        "short", "By limits that only observe.")


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


def variable(name, metric, all_):
    """A list to choose from; `all_`: with the choice of everything."""
    query = f"label_values({M}{metric}, {name})"
    everything = {
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
    return {
        "type": "query",
        "name": name,
        "label": name,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": all_,
        "includeAll": all_,
        **(everything if all_ else {}),
        "hide": 0,
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def source():
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


DASHBOARDS = {
    "overview": ("overview", "Who spends what on Amazon Bedrock, how sure that is, what changed.",
                 overview_panels, ("tenant", "application", "model")),
    "team": ("team", "One team: what it spends, how fast and how well it is served.",
             team_panels, ("tenant", "application", "model")),
    "models": ("models", "How fast models answer, what caches save, what was paid for nothing.",
               models_panels, ("tenant", "application", "model")),
    "budgets": ("budgets", "What budgets have left, for how long, and who was told; how full rate limits are.",
                budgets_panels, ("tenant",)),
    "health": ("meter health", "Whether the proxy is well and its numbers are up to date.",
               health_panels, ("tenant",)),
}
VARIABLES = {"tenant": "period_cost_usd", "application": "period_cost_usd", "model": "requests_total"}


def link(name):
    return {
        "type": "link",
        "title": DASHBOARDS[name][0],
        "url": f"/d/bedrock-meter-{name}",
        "icon": "dashboard",
        "tooltip": DASHBOARDS[name][1],
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def dashboard(name):
    title, description, panels, variables = DASHBOARDS[name]
    chosen = [variable(one, VARIABLES[one], all_=(name, one) != ("team", "tenant")) for one in variables]
    return {
        "uid": f"bedrock-meter-{name}",
        "title": f"bedrock-meter {title}",
        "description": description,
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
        "links": [link(other) for other in DASHBOARDS if other != name],
        "annotations": {"list": []},
        "templating": {"list": [source(), *chosen]},
        "panels": list(placed(panels())),
    }


def main():
    for name in DASHBOARDS:
        path = HERE / "dashboards" / f"bedrock-meter-{name}.json"
        text = json.dumps(dashboard(name), indent=2) + "\n"
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path.name} is not what grafana/build.py writes: run it and commit")


if __name__ == "__main__":
    main()
