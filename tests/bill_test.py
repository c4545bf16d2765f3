#!/usr/bin/env python3
"""Cases for bill.py, worked out by hand from the rows below (USD per million tokens)."""

import contextlib
import io
import json
import os
import sqlite3
import tempfile
import unittest
from fractions import Fraction

import bill

REGIONAL = "in_region_and_geo_profiles"
SOURCE = "in_region_and_geo_profiles_priced_by_source_region"


def row(dimension, price, geography, regions="*", tier="standard", **more):
    return {
        "dimension": f"{dimension}_tokens",
        "unit": "per_1M",
        "price_usd": price,
        "service_tier": tier,
        "geography": geography,
        "regions": regions.split(),
        **more,
    }


FACTS = {
    "region_prefixes": {"USE1": "us-east-1", "EUC1": "eu-central-1", "_note": "no region"},
    "models": [
        {
            "id": "a.claude",
            "rates": [
                row("input", "3", "global_profile"),
                row("output", "15", "global_profile"),
                row("input", "3.3", REGIONAL),
                row("output", "16.5", REGIONAL),
                row("cache_read", "0.33", REGIONAL),
                row("cache_write_5m", "4.125", REGIONAL),
                row("cache_write_1h", "6.6", REGIONAL),
                row("input", "6.6", REGIONAL, prompt_tokens_over=200000),
                row("output", "24.75", REGIONAL, prompt_tokens_over=200000),
                row("input", "3.6", "govcloud", "us-gov"),
            ],
        },
        {
            "id": "b.nova",
            "rates": [
                row("input", "0.8", SOURCE, "us-east-1"),
                row("input", "1.05", SOURCE, "eu-central-1"),
                row("input", "1.4", SOURCE, "us-east-1", "priority"),
                row("input", "1", SOURCE, "us-east-1", "latency-optimized"),
            ],
        },
        {
            "id": "c.gpt",
            "rates": [row("input", "0.22", REGIONAL, effective_from="2026-07-30")],
            "superseded_rates": [row("input", "1.1", REGIONAL, effective_to="2026-07-30")],
        },
        {
            "id": "d.old",
            "rates": [
                row("input", "3", "any_invocation_kind"),
                row("input", "6", "any_invocation_kind", tier="extended-access",
                    effective_from="2025-12-01"),
            ],
        },
        {"id": "e.mantle", "endpoints": ["bedrock-mantle"], "rates": [row("input", "1", REGIONAL)]},
        {"id": "f.both", "rates": [row("input", "1", REGIONAL, endpoint="mantle")]},
    ],
}


def line(model, usage, region="us-east-1", tier="default", latency="standard",
         at="2026-11-01T00:00:00Z", status=200):
    return {
        "request_id": "r1",
        "received_at": at,
        "model_id": model,
        "region": region,
        "served_tier": tier,
        "latency": latency,
        "status": status,
        "sdk_invocation_id": "sdk",
        "attempt": 1,
        "usage": {f"{name}_tokens": count for name, count in usage.items()},
    }


class Prices(unittest.TestCase):
    def check(self, expected, *arguments, **named):
        cost = bill.Facts(FACTS).charge(line(*arguments, **named))
        self.assertEqual(cost, Fraction(expected))

    def unpriced(self, *arguments, **named):
        with self.assertRaises(bill.Unpriced):
            bill.Facts(FACTS).charge(line(*arguments, **named))

    def test_bare_ids_and_geographic_profiles_cost_the_regional_rate(self):
        # 1000 x 3.3/1M + 100 x 16.5/1M = 0.0033 + 0.00165
        for model in ("a.claude", "us.a.claude", "eu.a.claude",
                      "arn:aws:bedrock:us-east-1::foundation-model/a.claude",
                      "arn:aws:bedrock:us-east-1:1:inference-profile/us.a.claude"):
            self.check("0.00495", model, {"input": 1000, "output": 100})

    def test_the_global_profile_costs_its_own_rate(self):
        # 1000 x 3/1M + 100 x 15/1M
        self.check("0.0045", "global.a.claude", {"input": 1000, "output": 100})

    def test_each_cache_class_has_its_rate(self):
        # 10 x 3.3 + 20 x 0.33 + 30 x 4.125 + 40 x 6.6 = 33 + 6.6 + 123.75 + 264 = 427.35
        usage = {"input": 10, "cache_read": 20, "cache_write_5m": 30, "cache_write_1h": 40}
        self.check("0.00042735", "a.claude", usage)

    def test_the_context_step_is_strictly_greater_and_takes_the_whole_request(self):
        # at 200,000: 200000 x 3.3 + 1 x 16.5 = 660016.5
        self.check("0.6600165", "a.claude", {"input": 200_000, "output": 1})
        # at 200,001: 200001 x 6.6 + 1 x 24.75 = 1320006.6 + 24.75
        self.check("1.32003135", "a.claude", {"input": 200_001, "output": 1})
        # output does not count towards the step: 5 x 3.3 + 200001 x 16.5 = 16.5 + 3300016.5
        self.check("3.300033", "a.claude", {"input": 5, "output": 200_001})

    def test_a_step_without_the_dimension_is_unpriced(self):
        self.unpriced("a.claude", {"input": 1, "cache_read": 200_000})

    def test_the_source_region_decides(self):
        self.check("0.0008", "eu.b.nova", {"input": 1000}, region="us-east-1")
        self.check("0.00105", "b.nova", {"input": 1000}, region="eu-central-1")
        self.unpriced("b.nova", {"input": 1000}, region="eu-west-1")

    def test_the_served_tier_and_latency_decide(self):
        self.check("0.0014", "b.nova", {"input": 1000}, tier="priority")
        self.check("0.001", "b.nova", {"input": 1000}, latency="optimized")
        self.unpriced("b.nova", {"input": 1000}, tier="flex")
        self.unpriced("b.nova", {"input": 1000}, region="eu-central-1", tier="priority")
        self.check("0", "b.nova", {"input": 1000}, tier="reserved")

    def test_the_instant_decides(self):
        self.check("0.0011", "c.gpt", {"input": 1000}, at="2026-07-29T23:59:59.999999Z")
        self.check("0.00022", "c.gpt", {"input": 1000}, at="2026-07-30T00:00:00Z")
        self.check("0.003", "d.old", {"input": 1000}, at="2025-11-30T23:59:59Z")
        self.check("0.006", "d.old", {"input": 1000}, at="2025-12-01T00:00:00Z")

    def test_what_has_no_row_is_unpriced(self):
        self.unpriced("x.unknown", {"input": 1})
        self.unpriced("global.b.nova", {"input": 1})
        self.unpriced("global.a.claude", {"cache_read": 1})
        self.unpriced("a.claude", {"input": 1}, region="xx-nowhere-1")
        self.unpriced("e.mantle", {"input": 1})
        self.unpriced("f.both", {"input": 1})
        self.unpriced("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", {"input": 1})

    def test_govcloud_has_rows_of_its_own(self):
        self.check("0.0036", "us-gov.a.claude", {"input": 1000}, region="us-gov-west-1")
        self.unpriced("a.claude", {"output": 1}, region="us-gov-west-1")

    def test_nothing_used_costs_nothing(self):
        self.check("0", "x.unknown", {})


class Ledgers(unittest.TestCase):
    # 1000 x 3.3/1M + 3 x 16.5/1M = 0.0033 + 0.0000495 = 3349 microdollars and 500,000,000 of 1e-15
    LINE = {"input": 1000, "output": 3}
    ENTRY = {
        "aws_request_id": "r1", "sdk_invocation_id": "sdk", "sdk_attempt": 1,
        "usage_source": "reported", "price_status": "priced",
        "input_tokens": 1000, "output_tokens": 3, "cache_read_tokens": 0,
        "cache_write_5m_tokens": None, "cache_write_30m_tokens": None,
        "cache_write_1h_tokens": None, "cost_microusd": 3349, "cost_femtousd": 500_000_000,
    }

    def run_bill(self, entries, *more, lines=None):
        with tempfile.TemporaryDirectory() as directory:
            path = lambda name: os.path.join(directory, name)
            with open(path("facts"), "w", encoding="utf-8") as file:
                json.dump(FACTS, file)
            with open(path("log"), "w", encoding="utf-8") as file:
                for each in lines or [line("a.claude", self.LINE)]:
                    file.write(json.dumps(each) + "\n")
            connection = sqlite3.connect(path("ledger"))
            columns = list(self.ENTRY)
            connection.execute(f"CREATE TABLE entries ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            for entry in entries:
                connection.execute(f"INSERT INTO entries VALUES ({marks})", list(entry.values()))
            connection.commit()
            connection.close()
            output = io.StringIO()
            arguments = ["--facts", path("facts"), "--log", path("log"), "--ledger", path("ledger")]
            with contextlib.redirect_stdout(output):
                status = bill.main([*arguments, *more])
            return status, output.getvalue()

    def check(self, status, word, entries, *more, lines=None):
        got, output = self.run_bill(entries, *more, lines=lines)
        self.assertEqual(got, status, output)
        self.assertIn(word, output)

    def test_equal_to_the_last_digit(self):
        self.check(0, "0 differences", [self.ENTRY])
        self.check(1, "cost: billed 0.003349500000000", [{**self.ENTRY, "cost_femtousd": 499_999_999}])

    def test_unequal_counts_are_named(self):
        self.check(1, "output_tokens: billed 3, ledger 4", [{**self.ENTRY, "output_tokens": 4}])

    def test_missing_and_double_entries_are_named(self):
        self.check(1, "missing in the ledger", [])
        self.check(1, "2 entries in the ledger", [self.ENTRY, self.ENTRY])
        stranger = {**self.ENTRY, "aws_request_id": "r9"}
        self.check(1, "r9: in the ledger, but never served", [self.ENTRY, stranger])

    def test_an_unpriced_call_must_be_unpriced_in_the_ledger(self):
        unknown = [line("x.unknown", self.LINE)]
        nothing = {"cost_microusd": None, "cost_femtousd": None, "price_status": "unpriced"}
        self.check(0, "0 differences", [{**self.ENTRY, **nothing}], lines=unknown)
        self.check(1, "billed unpriced", [self.ENTRY], lines=unknown)

    def test_estimates_are_counted_apart(self):
        estimate = {**self.ENTRY, "aws_request_id": None, "usage_source": "estimated",
                    "output_tokens": 9}
        self.check(0, "estimated or missing: 1 requests", [estimate])
        self.check(1, "estimated or missing: 1 requests", [estimate], "--exact")

    def test_an_error_costs_nothing(self):
        error = {**self.ENTRY, "input_tokens": None, "output_tokens": None,
                 "usage_source": "missing", "cost_microusd": None, "cost_femtousd": None}
        refused = [line("a.claude", {}, status=429)]
        self.check(0, "0 differences", [error], lines=refused)
        self.check(1, "cost: billed 0.000000000000000", [self.ENTRY], lines=refused)
        estimate = {**self.ENTRY, "usage_source": "estimated"}
        self.check(1, "cost: billed 0.000000000000000", [estimate], lines=refused)
        broken = [line("a.claude", {})]
        self.check(0, "estimated or missing: 1 requests", [estimate], lines=broken)


if __name__ == "__main__":
    unittest.main()
