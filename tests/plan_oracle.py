"""`budgets plan` against a replay written independently: brute force, its own calendar, whole numbers.

The ledger is one that the program made, with weeks of calls that are drawn here: several teams,
calls that overlap, days of 23 and 25 hours, ends of months, missing usage, calls of one millisecond.
Nothing is kept between two decisions: each sums up anew who was let in before.
"""

import csv
import datetime
import io
import json
import os
import pathlib
import random
import sqlite3
import subprocess
import tempfile
import unittest
import uuid
import zoneinfo
from collections import Counter, defaultdict

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARY = os.environ.get("BEDROCK_METER", ROOT / "target/debug/bedrock-meter")

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
FEMTO_PER_MICRO = 10**9
FEMTO = 10**15

FREE = {"CountTokens", "GetAsyncInvoke", "ListAsyncInvokes", "GetInferenceProfile", "ListInferenceProfiles"}
MODELS = ["anthropic.claude-opus-5", "anthropic.claude-haiku-4-5", "amazon.nova-lite"]

# The same budgets twice: for the program, and for the replay below.
TOML = """
[budgets.all]
limit_usd = "3"
period = "month"
[budgets.agents]
tenant = "research"
session = "*"
limit_usd = "3.25"
period = "rolling 24h"
action = "block"
[budgets.everybody]
limit_usd = "1150"
period = "quarter"
fiscal_month = 2
action = "block"
[budgets.makers]
tenant = "search"
model = "anthropic.*"
shared = ["model"]
limit_usd = "40"
period = "week"
action = "downgrade"
downgrade_tier = "flex"
[budgets.people]
user = "*"
limit_usd = "9.25"
period = "day"
time_zone = "America/New_York"
action = "block"
mode = "observe"
[budgets.sales]
tenant = "sales"
application = "crm*"
limit_usd = "30"
period = "month"
time_zone = "America/New_York"
action = "block"
[budgets.sales.raises.fair]
add_usd = "20"
from = "2026-10-28"
until = "2026-10-31T12:00:00Z"
approver = "cfo"
reason = "the fair"
[budgets.teams]
tenant = "*"
limit_usd = "14.123456"
period = "day"
time_zone = "Europe/Berlin"
action = "block"
"""
BUDGETS = [  # in the order of their names
    dict(name="agents", scope={"tenant": "research", "session": "*"}, limit="3.25", period=24 * 60),
    dict(name="everybody", scope={}, limit="1150", period="quarter", fiscal=2),
    dict(name="makers", scope={"tenant": "search", "model": "anthropic.*"}, shared=["model"], limit="40", period="week"),
    dict(name="people", scope={"user": "*"}, limit="9.25", period="day", zone="America/New_York"),
    dict(name="sales", scope={"tenant": "sales", "application": "crm*"}, limit="30", period="month",
         zone="America/New_York", raises=[("20", "2026-10-28T00:00:00+00:00", "2026-10-31T12:00:00+00:00")]),
    dict(name="teams", scope={"tenant": "*"}, limit="14.123456", period="day", zone="Europe/Berlin"),
]
FACETS = ["tenant", "application", "model", "key", "user", "session"]


def femto(text):
    whole, _, part = text.partition(".")
    return int(whole) * FEMTO + int(part.ljust(15, "0") or 0)


def dollars(amount):
    text = f"{amount // FEMTO}.{amount % FEMTO:015d}".rstrip("0")
    return text.rstrip(".")


def unix_ms(text):
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


# The calls.

def draw(begins, days, seed):
    """Calls from that day on, as rows of the ledger."""
    rng = random.Random(seed)
    rows = []
    at = unix_ms(begins + "T00:00:00+00:00")
    ends = at + days * DAY
    while at < ends:
        at += rng.choice([0, 0, 1, 40, 900, 30_000, 600_000, 2_400_000, 9_000_000]) + rng.randrange(900_000)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            rows.append(call(rng, at + rng.choice([0, 0, 3])))
    return rows


def call(rng, at):
    tenant = rng.choice(["search", "sales", "research", "ops"])
    operation = rng.choices(["Converse", "ConverseStream", "InvokeModel", "CountTokens"], [6, 6, 6, 1])[0]
    cost = 0 if operation in FREE else rng.choice([rng.randrange(2 * FEMTO), rng.randrange(FEMTO // 10), 10**12 * rng.randrange(3000)])
    held = -(-cost // FEMTO_PER_MICRO) + rng.choice([0, 0, 1, 250_000, 1_900_000])
    row = {
        "call_id": str(uuid.UUID(int=(at << 80) | (7 << 76) | rng.getrandbits(76) & ~(3 << 62) | (2 << 62))),
        "opened_at": at,
        "settled_at": at + rng.choice([0, 1, 700, 4_000, 90_000, 900_000, 3 * 60 * MINUTE]) + rng.randrange(5_000),
        "tenant": tenant,
        "application": rng.choice(["web", "crm-eu", "crm-us", "agents"]),
        "user": rng.choice([None, "u-1", "u-2", "u-3"]),
        "session": rng.choice([None, None, "run 1", "run 2"]),
        "key_id": rng.choice([None, "BMAKABCDEFGHIJKLMNOP"]),
        "operation": operation,
        "model": rng.choice(MODELS),
        "outcome": "success",
        "usage_source": "reported",
        "price_status": "priced",
        "cost_microusd": cost // FEMTO_PER_MICRO,
        "cost_femtousd": cost % FEMTO_PER_MICRO,
        "reserved_microusd": rng.choice([held, held, held, None]) if operation not in FREE else None,
    }
    kind = rng.random()
    if kind < 0.03:
        row |= {"usage_source": "missing", "price_status": "unpriced", "cost_microusd": None, "cost_femtousd": None}
    elif kind < 0.07:
        row |= {"usage_source": "estimated"}
    elif kind < 0.09:
        row |= {"outcome": "budget_refused", "cost_microusd": 0, "cost_femtousd": 0}
    return row


def insert(ledger, rows):
    """Takes the place of all calls of a ledger."""
    fixed = {"region": "us-east-1", "request_bytes": 100, "response_bytes": 100, "duration_ms": 5,
             "read_from": "body", "disagreement": 0, "catalogue": "test"}
    connection = sqlite3.connect(ledger / "ledger.sqlite3")
    with connection:
        connection.execute("DELETE FROM entries")
        # As an older program left it: sums beside the entries would speak of the calls that are gone.
        for table in ("rollup_hours", "rollup_days", "retention"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for row in rows:
            row = row | fixed
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", list(row.values()))
    connection.close()


# The replay.

def stretch(budget, at):
    """The period of a budget that holds an instant: its first instant and the one after its last."""
    zone = zoneinfo.ZoneInfo(budget.get("zone", "UTC"))
    local = datetime.datetime.fromtimestamp(at / 1000, zone).date()
    period, fiscal = budget["period"], budget.get("fiscal", 1)

    def month_on(day, months):
        count = day.year * 12 + day.month - 1 + months
        return datetime.date(count // 12, count % 12 + 1, 1)

    if period == "day":
        first, last = local, local + datetime.timedelta(days=1)
    elif period == "week":
        first = local - datetime.timedelta(days=local.weekday())
        last = first + datetime.timedelta(days=7)
    else:
        length = {"month": 1, "quarter": 3}[period]
        first = month_on(local, -((local.month - fiscal) % length))
        last = month_on(first, length)
    return tuple(round(datetime.datetime(d.year, d.month, d.day, tzinfo=zone).timestamp() * 1000) for d in (first, last))


def subject(budget, row):
    """Which counter a call belongs to; None where the budget is not for it."""
    parts = []
    for facet in FACETS:
        if facet not in budget["scope"]:
            continue
        pattern, value = budget["scope"][facet], row["key_id" if facet == "key" else facet]
        if value is None:
            return None
        if not (value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern):
            return None
        parts.append(f"{facet}={pattern if facet in budget.get('shared', []) else value}")
    return " ".join(parts)


def limit(budget, at):
    raises = [femto(add) for add, begins, ends in budget.get("raises", []) if unix_ms(begins) <= at < unix_ms(ends)]
    return femto(budget["limit"]) + sum(raises)


def cost(row):
    return (row["cost_microusd"] or 0) * FEMTO_PER_MICRO + (row["cost_femtousd"] or 0)


def reserved(row):
    return None if row["reserved_microusd"] is None else row["reserved_microusd"] * FEMTO_PER_MICRO


def counted(row):
    """Unknown is never given back."""
    if row["usage_source"] == "reported" and row["price_status"] != "unpriced":
        return cost(row)
    return max(cost(row), reserved(row) or 0)


def hold(row):
    held = cost(row) if reserved(row) is None else reserved(row)
    return -(-held // FEMTO_PER_MICRO) * FEMTO_PER_MICRO


def taken(budget, admitted, now):
    """What is spent and held of a budget's counter at an instant: all that was let in, looked at again."""
    sum_of = 0
    if isinstance(budget["period"], int):
        window = budget["period"] * MINUTE
        step = -(-budget["period"] // 60) * MINUTE
        for earlier in admitted:
            if earlier["settled_at"] > now:
                sum_of += hold(earlier)
            elif earlier["opened_at"] // step * step + step > now - window:
                sum_of += counted(earlier)
        return sum_of
    begins, _ = stretch(budget, now)
    for earlier in admitted:
        if earlier["opened_at"] >= begins:
            sum_of += hold(earlier) if earlier["settled_at"] > now else counted(earlier)
    return sum_of


def replay(rows, since, until):
    """What would have been refused: call id, budget, subject, day, amount."""
    refused, admitted = [], defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["opened_at"], row["call_id"])):
        at = row["opened_at"]
        if at >= until:
            continue
        meant = [(budget, subject(budget, row)) for budget in BUDGETS]
        meant = [(budget, whose) for budget, whose in meant if whose is not None]
        if at < since:
            # What was spent before counts, as of the beginning, where its period goes on.
            for budget, whose in meant:
                window = isinstance(budget["period"], int)
                begins = since - budget["period"] * MINUTE if window else stretch(budget, since)[0]
                if at >= begins:
                    admitted[budget["name"], whose].append(row | {"settled_at": at})
            continue
        if row["outcome"] == "budget_refused" or row["operation"] in FREE:
            continue
        for budget, whose in meant:
            room = limit(budget, at) - taken(budget, admitted[budget["name"], whose], at)
            if hold(row) > room:
                zone = zoneinfo.ZoneInfo(budget.get("zone", "UTC"))
                day = datetime.datetime.fromtimestamp(at / 1000, zone).date().isoformat()
                refused.append((row["call_id"], budget["name"], whose, day, counted(row)))
                break
        else:
            for budget, whose in meant:
                admitted[budget["name"], whose].append(row)
    return refused


class Plan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.space = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.config = cls.space / "new.toml"
        cls.config.write_text(TOML)
        cls.ledger = cls.space / "ledger"
        cls.run_program("demo", "--calls", "5", "--directory", cls.ledger)
        cls.rows = draw("2026-02-20", 45, seed=1) + draw("2026-09-28", 42, seed=2)
        assert len({row["call_id"] for row in cls.rows}) == len(cls.rows)
        insert(cls.ledger, cls.rows)
        print(f"{len(cls.rows)} calls")

    @classmethod
    def run_program(cls, *arguments):
        done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stderr}")
        return done.stdout

    def plan(self, since, until, *options):
        return self.run_program("budgets", "plan", "--config", self.config, "--ledger", self.ledger,
                                "--since", since, "--until", until, *options)

    def check(self, since, until):
        expected = replay(self.rows, unix_ms(since + "+00:00"), unix_ms(until + "+00:00"))
        found = json.loads(self.plan(since + "Z", until + "Z", "--format", "json"))
        calls = found["blocked_calls"]
        self.assertEqual(
            [(one["call_id"], one["budget"], one["subject"], one["day"], femto(one["amount_usd"])) for one in calls],
            expected)
        days = defaultdict(lambda: [0, 0, None])
        for call_id, budget, whose, day, amount in expected:
            one = days[budget, whose, day]
            days[budget, whose, day] = [one[0] + 1, one[1] + amount, one[2] or call_id]
        self.assertEqual(
            {(one["budget"], one["subject"], one["day"]): [one["calls"], femto(one["amount_usd"]), one["first_call_id"]]
             for one in found["blocked_days"]}, dict(days))
        self.assertEqual(found["totals"]["blocked_calls"], len(expected))
        self.assertEqual(femto(found["totals"]["blocked_usd"]), sum(amount for *_, amount in expected))
        return found, expected, days

    def test_every_call_that_brute_force_refuses_is_named_and_no_other(self):
        for since, until in [
            ("2026-02-20T00:00:00", "2026-04-06T00:00:00"),  # spring: a day of 23 hours in both zones
            ("2026-09-28T00:00:00", "2026-11-09T00:00:00"),  # autumn: days of 25 hours, ends of months
            ("2026-10-14T15:37:00", "2026-10-27T03:00:00"),  # begins amid every period
        ]:
            with self.subTest(since=since):
                found, expected, _ = self.check(since, until)
                print(f"{found['totals']} {dict(Counter(one[1] for one in expected))}")
                self.assertGreater(len(expected), 100)
        # The drawn weeks try every budget that can refuse, and the days that are not 24 hours long.
        expected = replay(self.rows, unix_ms("2026-09-28T00:00:00+00:00"), unix_ms("2026-11-09T00:00:00+00:00"))
        self.assertEqual({one[1] for one in expected}, {budget["name"] for budget in BUDGETS})
        self.assertIn("2026-10-25", {one[3] for one in expected if one[1] == "teams"})

    def test_csv_names_the_same_calls_and_the_table_their_days(self):
        since, until = "2026-10-20T00:00:00", "2026-11-02T00:00:00"
        _, expected, days = self.check(since, until)
        rows = list(csv.DictReader(io.StringIO(self.plan(since + "Z", until + "Z", "--format", "csv"))))
        self.assertEqual([row["call_id"] for row in rows], [one[0] for one in expected])
        text = self.plan(since + "Z", until + "Z")
        for (budget, whose, day), (count, amount, first) in days.items():
            word = "call" if count == 1 else "calls"
            self.assertIn(f"budget {budget} would have blocked {whose or '(all)'} on {day}: {count} {word}, "
                          f"${dollars(amount)}, the first {first}\n", text)
        self.assertIn(f"{len(expected)} would have been blocked", text)
        self.assertIn("had no hold recorded", text)
        self.assertIn("were refused by a budget then", text)

    def test_two_configurations_differ_where_they_differ(self):
        old = self.space / "old.toml"
        old.write_text(TOML.replace('"14.123456"', '"40"').replace("[budgets.all]", "[budgets.old]"))
        text = self.plan("2026-10-01", "2026-10-01", "--against", old)
        self.assertIn("~ budget teams: limit_usd 40 -> 14.123456\n", text)
        self.assertIn("- budget old\n", text)
        self.assertIn("+ budget all: ", text)
        self.assertNotIn("budget people", text)

    def test_suggestions_are_a_configuration_and_hold_nearly_all_days(self):
        toml = self.run_program("budgets", "suggest", "--since", "2026-09-28", "--ledger", self.ledger)
        file = self.space / "suggested.toml"
        file.write_text(toml)
        self.run_program("check-config", file)
        # By hand: the days of a team from its first call until yesterday, the nearest rank of 95 %.
        sums = defaultdict(int)
        for row in self.rows:
            if row["tenant"] == "ops" and row["opened_at"] >= unix_ms("2026-09-28T00:00:00+00:00"):
                sums[row["opened_at"] // DAY] += cost(row)
        yesterday = int(datetime.datetime.now(datetime.UTC).timestamp() * 1000) // DAY - 1
        days = sorted(sums.get(day, 0) for day in range(min(sums), yesterday + 1))
        nearly_all = days[-(-len(days) * 95 // 100) - 1]
        cents = -(-nearly_all * 120 // (100 * FEMTO // 100))
        self.assertIn(f'# ops: {len(days)} whole days, ', toml)
        self.assertIn(f"95 of 100 not above ${dollars(nearly_all)}", toml)
        self.assertIn("[budgets.ops-day]\ntenant = \"ops\"\nperiod = \"day\"\n"
                      f'limit_usd = "{dollars(cents * FEMTO // 100 // 1)}"', toml)


if __name__ == "__main__":
    unittest.main(verbosity=2)
