"""A PostgreSQL of a test's own, with the roles of `deploy/postgres/roles.sql`, and replicas on it that
write as the writer. Knows nothing of what a test judges.
"""

import json
import sys
import time
import unittest

from harness import BINARY, ROOT, Workspace, run

sys.path.insert(0, str(ROOT / "tests"))
import postgres  # noqa: E402

SECONDS_MAX = 60


@unittest.skipUnless(postgres.programs(), "no PostgreSQL is installed")
class OnPostgres(unittest.TestCase):
    """Every test has a server of its own."""

    # The program whose schema the ledger begins with.
    made_by = BINARY

    def setUp(self):
        self.server = postgres.Postgres()
        self.addCleanup(self.server.remove)
        self.workspace = self.enterContext(Workspace())
        self.simulator = self.workspace.simulator()
        self.server.sql(self.done("ledger", "roles-sql"))
        self.done("ledger", "migrate", "--config", self.config("owner"))

    def done(self, *command):
        """What a command of the program prints that makes the ledger; it must succeed."""
        code, printed = run(*command, binary=self.made_by)
        self.assertEqual(0, code, printed)
        return printed

    def url(self, user):
        """Where the programs find the server."""
        return self.server.url(user)

    def ledger(self, role):
        return {"url": self.url(f"meter_{role}"), "sslmode": "disable",
                "connect_timeout": "1s", "statement_timeout": "2s"}

    def config(self, role):
        file = self.workspace.path / f"{role}.toml"
        lines = "".join(f"{k} = {json.dumps(v)}\n" for k, v in self.ledger(role).items())
        file.write_text(f'[ledger]\nstore = "postgres"\n[ledger.postgres]\n{lines}')
        return file

    def replica(self, name, sections=None, binary=BINARY, **changes):
        """A replica of that id, in the directory of that name; `changes` are of its section."""
        return self.workspace.proxy(
            self.simulator.url, name=name, binary=binary, ledger={"store": "postgres"},
            ledger__postgres=self.ledger("writer"), replica={"id": name} | changes, **sections or {},
        )

    def count(self, table):
        return int(self.server.sql(f"SELECT count(*) FROM bedrock_meter.{table}")[0][0])

    def entries(self):
        rows = self.server.sql("SELECT to_json(e) FROM bedrock_meter.entries AS e")
        return [json.loads(row[0]) for row in rows]

    def wait_until(self, what, is_so):
        deadline = time.monotonic() + SECONDS_MAX
        while not is_so():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def wait_for_more_entries(self, more=50):
        """The store takes entries, so that what comes next hits it at work."""
        before = self.count("entries")
        self.wait_until("entries arrive", lambda: self.count("entries") >= before + more)
