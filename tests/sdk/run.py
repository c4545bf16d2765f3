"""Runs one suite of this directory: `run.py NAME` runs `suite_NAME.py`; `run.py NAME WORD` only the
tests with that word in their name.

Counts every case, a subtest as a case of its own, and ends with "N passed, N failed".
"""

import importlib
import os
import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent


class Result(unittest.TextTestResult):
    """Counts subtests, and a test with subtests as its subtests only."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.passed = 0
        self.failed = 0
        self._subtests = 0
        self._began = 0.0

    def startTest(self, test):
        super().startTest(test)
        self._subtests = 0
        self._began = time.monotonic()

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        self._subtests += 1
        self._count(err is None)

    def addSuccess(self, test):
        super().addSuccess(test)
        if not self._subtests:
            self._count(True)
        self.stream.writeln(f"    ({time.monotonic() - self._began:.1f}s)")

    def addError(self, test, err):
        super().addError(test, err)
        self._count(False)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._count(False)

    def _count(self, passed):
        self.passed += passed
        self.failed += not passed


def main():
    sys.path.insert(0, str(HERE))
    # The suites choose every endpoint and key themselves.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    if len(sys.argv) > 2:
        unittest.defaultTestLoader.testNamePatterns = [f"*{sys.argv[2]}*"]
    suite = unittest.defaultTestLoader.loadTestsFromModule(
        importlib.import_module(f"suite_{sys.argv[1]}")
    )
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result)
    result = runner.run(suite)
    for test, reason in result.skipped:
        print(f"left out: {test}: {reason}")
    print(f"{result.passed} passed, {result.failed} failed")
    return 0 if result.wasSuccessful() and result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
