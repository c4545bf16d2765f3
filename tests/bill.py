#!/usr/bin/env python3
"""An independent bill for what the simulator served, in exact fractions.

Reads the simulator's NDJSON and the source price facts, and shares nothing with the program it
checks: no code, no derived catalogue, no float. With a ledger it joins both by request id and
names every difference.

    tests/bill.py --facts config/prices/facts.json --log bill.ndjson
    tests/bill.py --facts ... --log ... --ledger bedrock-meter-data/ledger.sqlite

Exit status: 0 when equal (or nothing to compare), 1 when something differs, 2 on bad input.
"""

import argparse
import json
import re
import sqlite3
import sys
from collections import Counter, defaultdict
from datetime import datetime, timezone
from fractions import Fraction

DIMENSIONS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_30m_tokens",
    "cache_write_1h_tokens",
)
PREFIXES = {"us", "eu", "apac", "jp", "au", "ca", "in", "sa", "amer", "us-gov", "global"}
REGIONAL = {
    "in_region_and_geo_profiles",
    "in_region_and_geo_profiles_priced_by_source_region",
    "govcloud",
    "any_invocation_kind",
}
GLOBAL = {"global_profile", "govcloud_global_profile", "any_invocation_kind"}
UNITS = {"per_1M": 1_000_000, "per_1": 1}


class Unpriced(Exception):
    """There is no price, and why."""


class Facts:
    """The price facts: which row applies to a call."""

    def __init__(self, facts):
        self.models = {model["id"]: model for model in facts["models"]}
        named = {r for p, r in facts["region_prefixes"].items() if not p.startswith("_")}
        for model in facts["models"]:
            for rate in model["rates"]:
                named.update(rate["regions"])
        self.commercial = {r for r in named if r != "*" and not r.startswith("us-gov")}

    def charge(self, line):
        """The price of one line of the log in dollars; raises `Unpriced`."""
        used = {name: count for name, count in line["usage"].items() if count}
        if not used:
            return Fraction(0)
        if line["served_tier"] == "reserved":
            return Fraction(0)  # paid by the hour
        base, is_global = model_of(line["model_id"])
        model = self.models.get(base)
        if model is None:
            raise Unpriced("unknown model")
        if model.get("endpoints") == ["bedrock-mantle"]:
            raise Unpriced("not served by the runtime endpoint")
        rows = self.rows(model, is_global, line["region"], instant(line["received_at"]))
        rows = of_tier(rows, line["served_tier"], line["latency"])
        return self.sum(rows, used)

    def rows(self, model, is_global, region, at):
        """The rows of a model for a way of asking, a source region and an instant."""
        scopes = GLOBAL if is_global else REGIONAL
        rows = model["rates"] + model.get("superseded_rates", [])
        return [
            row
            for row in rows
            if row["geography"] in scopes
            and self.covers(row["regions"], region)
            and row.get("endpoint", "runtime") == "runtime"
            and in_force(row, at)
        ]

    def covers(self, regions, region):
        """Whether a row for these regions covers a request sent to that one."""
        if region in regions:
            return True
        if region.startswith("us-gov"):
            return "us-gov" in regions
        return "*" in regions and region in self.commercial

    @staticmethod
    def sum(rows, used):
        """Quantities times prices, from the context step that the whole prompt selects."""
        prompt = sum(count for name, count in used.items() if name != "output_tokens")
        steps = {row.get("prompt_tokens_over", 0) for row in rows}
        step = max((s for s in steps if s == 0 or prompt > s), default=0)
        total = Fraction(0)
        for name, count in used.items():
            prices = {
                Fraction(row["price_usd"]) / UNITS[row["unit"]]
                for row in rows
                if row["dimension"] == name and row.get("prompt_tokens_over", 0) == step
            }
            if len(prices) > 1:
                raise Unpriced(f"{len(prices)} prices for {name}")
            if not prices:
                raise Unpriced(f"no price for {name}")
            total += count * prices.pop()
        return total


def model_of(asked):
    """The base model of an id or ARN, and whether it was asked for by the global profile."""
    if asked is None:
        raise Unpriced("no model")
    if asked.startswith("arn:"):
        kind, _, asked = asked.split(":", 5)[-1].partition("/")
        if kind not in ("foundation-model", "inference-profile"):
            raise Unpriced(f"a {kind} does not name its model")
    asked = re.sub(r":\d+k$", "", asked)
    prefix, _, rest = asked.partition(".")
    if prefix in PREFIXES and "." in rest:
        return rest, prefix == "global"
    return asked, False


def instant(text):
    """An RFC 3339 instant in UTC, or the start of a day; fractions of a second do not matter."""
    text = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


def in_force(row, at):
    """Whether a row holds at an instant: from its first moment until before its last."""
    since, until = row.get("effective_from"), row.get("effective_to")
    return (since is None or instant(since) <= at) and (until is None or at < instant(until))


def of_tier(rows, tier, latency):
    """The rows of the tier that was served. Extended access replaces standard once it began."""
    tier = "standard" if tier == "default" else tier
    if latency == "optimized":
        tier = "latency-optimized"
    extended = [row for row in rows if row["service_tier"] == "extended-access"]
    if tier == "standard" and extended:
        return extended
    return [row for row in rows if row["service_tier"] == tier]


def dollars(amount):
    """An exact decimal; every price has a finite one."""
    digits = 15
    scaled = amount * 10**digits
    if scaled.denominator != 1:
        return f"{amount} (no finite decimal)"
    sign = "-" if scaled < 0 else ""
    whole, rest = divmod(abs(scaled.numerator), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}"


def read_log(path):
    """The lines of the log; a last line cut short by a kill of the simulator is an error too."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(text) for text in file]


def price(facts, lines):
    """Adds to each line its `cost`, or `None` and the reason."""
    for line in lines:
        try:
            line["cost"], line["reason"] = facts.charge(line), None
        except Unpriced as reason:
            line["cost"], line["reason"] = None, str(reason)


def print_bill(lines):
    """The total and the total per model."""
    models = defaultdict(Fraction)
    for line in lines:
        if line["usage"] and line["cost"] is not None:
            models[line["model_id"]] += line["cost"]
    for model, amount in sorted(models.items()):
        print(f"{dollars(amount)}  {model}")
    unpriced = Counter(line["reason"] for line in lines if line["cost"] is None)
    for reason, count in sorted(unpriced.items()):
        print(f"unpriced: {count} requests: {reason}")
    print(f"{dollars(sum(models.values(), Fraction(0)))}  total of {len(lines)} requests")


def read_ledger(path):
    """The entries of a ledger, as mappings."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    with connection:
        entries = [dict(row) for row in connection.execute("SELECT * FROM entries")]
    connection.close()
    return entries


def cost_of(entry):
    """The cost of an entry in dollars, `None` when it has none."""
    if entry["cost_microusd"] is None:
        return None
    return Fraction(entry["cost_microusd"], 10**6) + Fraction(entry["cost_femtousd"], 10**15)


class Comparison:
    """The join of a log and a ledger."""

    def __init__(self, lines, entries):
        self.differences = []
        self.exact = []
        self.inexact = []
        self.by_request = defaultdict(list)
        self.by_attempt = defaultdict(list)
        for entry in entries:
            if entry["aws_request_id"] is not None:
                self.by_request[entry["aws_request_id"]].append(entry)
            elif entry["sdk_invocation_id"] is not None:
                attempt = (entry["sdk_invocation_id"], entry["sdk_attempt"])
                self.by_attempt[attempt].append(entry)
        self.join(lines)

    def join(self, lines):
        """Finds the one entry of each line."""
        seen = Counter(line["request_id"] for line in lines)
        for line in lines:
            request_id = line["request_id"]
            if seen[request_id] > 1:
                self.differ(line, "twice in the log")
            entries = self.by_request.pop(request_id, None) or self.without_id(line)
            if len(entries) != 1:
                self.differ(line, "missing in the ledger" if not entries else
                            f"{len(entries)} entries in the ledger")
            else:
                self.compare(line, entries[0])
        for request_id in self.by_request:
            self.differences.append(f"{request_id}: in the ledger, but never served")

    def without_id(self, line):
        """The entry of a call whose response head never arrived: it has no request id."""
        entries = self.by_attempt.get((line["sdk_invocation_id"], line["attempt"]))
        return [entries.pop()] if entries else []

    def compare(self, line, entry):
        """Compares counts and dollars where the ledger says that Bedrock reported them, and where
        Bedrock refused: nothing may be charged for that."""
        refused = (line["status"] or 0) >= 400
        if entry["usage_source"] != "reported" and not refused:
            self.inexact.append((line, entry))
            return
        self.exact.append((line, entry))
        for name in DIMENSIONS:
            billed, kept = line["usage"].get(name, 0), entry[name] or 0
            if billed != kept:
                self.differ(line, f"{name}: billed {billed}, ledger {kept}")
        billed, kept = line["cost"], cost_of(entry)
        if not line["usage"]:
            kept = kept or Fraction(0)
        if billed != kept:
            show = ["unpriced" if cost is None else dollars(cost) for cost in (billed, kept)]
            self.differ(line, f"cost: billed {show[0]}, ledger {show[1]} ({line['reason']})")

    def differ(self, line, what):
        self.differences.append(f"{line['request_id']}: {line['model_id']}: {what}")

    def report(self):
        """Prints the outcome; the number of differences."""
        for difference in self.differences:
            print(f"DIFFERENT {difference}")
        for label, pairs in (("reported", self.exact), ("estimated or missing", self.inexact)):
            billed = sum((line["cost"] or 0 for line, _ in pairs), Fraction(0))
            kept = sum((cost_of(entry) or 0 for _, entry in pairs), Fraction(0))
            print(f"{label}: {len(pairs)} requests, billed {dollars(billed)}, ledger {dollars(kept)}")
        print(f"{len(self.differences)} differences")
        return len(self.differences)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", required=True, help="source price facts (JSON)")
    parser.add_argument("--log", required=True, help="NDJSON of the simulator")
    parser.add_argument("--ledger", help="SQLite ledger to compare with")
    parser.add_argument("--exact", action="store_true",
                        help="estimated or missing usage is a difference too")
    options = parser.parse_args(arguments)
    try:
        with open(options.facts, encoding="utf-8") as file:
            facts = Facts(json.load(file))
        lines = read_log(options.log)
        entries = read_ledger(options.ledger) if options.ledger else None
    except (OSError, ValueError, KeyError, sqlite3.Error) as error:
        print(f"bill.py: {error}", file=sys.stderr)
        return 2
    price(facts, lines)
    print_bill(lines)
    if entries is None:
        return 0
    comparison = Comparison(lines, entries)
    differences = comparison.report()
    return 1 if differences or (options.exact and comparison.inexact) else 0


if __name__ == "__main__":
    sys.exit(main())
