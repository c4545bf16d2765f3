"""A demo of 2000 calls: the ledger, the metrics and an independent bill tell the same money."""

import json
import re
import subprocess
import sys
import unittest
from fractions import Fraction

from harness import ROOT, Workspace, entries, run

CALLS = 2000


class Demo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = cls.enterClassContext(Workspace()).path / "demo"
        cls.code, cls.output = run("demo", "--calls", CALLS, "--directory", cls.directory)
        print(cls.output)
        cls.served = [
            json.loads(line) for line in (cls.directory / "bill.ndjson").read_text().splitlines()
        ]
        cls.entries = entries(cls.directory)

    def test_it_ends_well(self):
        self.assertEqual(0, self.code)

    def test_every_served_call_has_its_entry_and_its_tokens(self):
        found = {entry["aws_request_id"]: entry for entry in self.entries}
        self.assertGreaterEqual(len(self.served), CALLS)
        missing = [row["request_id"] for row in self.served if row["request_id"] not in found]
        self.assertEqual([], missing)
        differences = [
            (row["request_id"], name, quantity, found[row["request_id"]][name])
            for row in self.served
            for name, quantity in row["usage"].items()
            if name.endswith("_tokens") and quantity != (found[row["request_id"]][name] or 0)
        ]
        self.assertEqual([], differences)

    def test_an_independent_bill_has_the_same_dollars(self):
        arguments = ("--facts", ROOT / "config/prices/facts.json",
                     "--log", self.directory / "bill.ndjson",
                     "--ledger", self.directory / "ledger.sqlite3")
        done = subprocess.run(
            [sys.executable, ROOT / "tests/bill.py", *arguments],
            capture_output=True, text=True, check=False,
        )
        print(done.stdout[-1500:])
        self.assertEqual(0, done.returncode, done.stdout[-4000:] + done.stderr)

    def test_the_metrics_add_up_to_the_ledger(self):
        text = (self.directory / "metrics.txt").read_text()
        samples = re.findall(r"^bedrock_meter_cost_usd_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
        counted = sum(Fraction(float(sample)) for sample in samples)
        kept = sum(
            Fraction(entry["cost_microusd"], 10**6) + Fraction(entry["cost_femtousd"], 10**15)
            for entry in self.entries
            if entry["cost_microusd"] is not None
        )
        self.assertGreater(kept, 0)
        self.assertLess(abs(counted / kept - 1), Fraction(1, 10**9))
