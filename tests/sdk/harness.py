"""Starts the simulator and the proxy for a test, and reads what both wrote down.

Every process listens on a port the system picks and is stopped by its own id. Nothing here knows
how a test judges what it finds.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BEDROCK_METER", ROOT / "target/debug/bedrock-meter"))

# The key pair the simulator accepts. Not a secret: it opens nothing but the simulator.
UPSTREAM_KEY = ("AKIASIMULATOREXAMPLE", "simulator/secret/EXAMPLEKEY")
# What the clients sign with; the proxy never forwards it.
CLIENT_KEY = ("AKIACLIENT", "client-secret")
REGION = "us-east-1"

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30

MODEL = "anthropic.claude-3-5-sonnet-20241022-v2:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"


class Program:
    """One running `bedrock-meter` process whose output is kept."""

    def __init__(self, *arguments, announce, binary=BINARY):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and "proxy" not in k.lower()}
        environment |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_COLOR": "1"}
        self.output = []
        self.process = subprocess.Popen(
            [binary, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.announced = {name: self._wait_for(name) for name in announce}

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.output.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.output.append(None)
            self._changed.notify_all()

    def _wait_for(self, words):
        """The URL that the program prints after `words`."""
        pattern = re.compile(re.escape(words) + r"\s+(https?://\S+)")
        deadline = time.monotonic() + START_SECONDS_MAX
        with self._changed:
            while True:
                for line in self.output:
                    if line is not None and (found := pattern.search(line)):
                        return found[1].rstrip("/,")
                left = deadline - time.monotonic()
                if None in self.output or left <= 0:
                    self.process.kill()
                    raise RuntimeError(f"no {words!r} in the output:\n" + self.text())
                self._changed.wait(left)

    def text(self):
        return "\n".join(line for line in self.output if line is not None)

    def terminate(self):
        """SIGTERM, then the exit code; kills what does not stop."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError("did not stop on SIGTERM:\n" + self.text()) from None

    def kill(self):
        """SIGKILL, as the out-of-memory killer would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_SECONDS_MAX)


class Simulator(Program):
    """`bedrock-meter simulate` with its list of what it served."""

    def __init__(self, directory, *, verify=True, seed=7, name="served", refuse=None, session_seconds=None):
        self.bill_log = pathlib.Path(directory) / f"{name}.ndjson"
        super().__init__(
            "simulate",
            "--listen",
            "127.0.0.1:0",
            "--bill-log",
            self.bill_log,
            "--seed",
            seed,
            *([] if verify else ["--no-verify"]),
            *(["--refuse", refuse] if refuse else []),
            *(["--session-seconds", session_seconds] if session_seconds else []),
            announce=["simulator listening on"],
        )
        self.url = self.announced["simulator listening on"]

    def served(self):
        """What it served so far, one dictionary for each call that reached it."""
        if not self.bill_log.exists():
            return []
        return [json.loads(line) for line in self.bill_log.read_text().splitlines() if line]


class Proxy(Program):
    """`bedrock-meter serve` with a configuration of its own."""

    def __init__(self, directory, upstream, /, *, binary=BINARY, **changes):
        self.directory = pathlib.Path(directory)
        self.ledger = self.directory / "ledger"
        self.config = self.directory / "bedrock-meter.toml"
        self.config.write_text(configuration(self.ledger, upstream, changes))
        super().__init__(
            "serve", "--config", self.config,
            announce=["data listener", "admin listener"], binary=binary,
        )
        self.url = self.announced["data listener"]
        self.admin = self.announced["admin listener"]

    def issue(self, tenant, *options, kind="pair"):
        """A new key of this proxy: id and secret of a pair, or a token."""
        issued = self.command("keys", "create", "--tenant", tenant, "--kind", kind, "--output", "json", *options)
        issued = json.loads(issued)
        return issued["token"] if kind == "token" else (issued["id"], issued["secret_access_key"])

    def command(self, *arguments):
        """What a command prints that works on this proxy's registry; it must succeed."""
        done = subprocess.run(
            [BINARY, *map(str, arguments), "--config", self.config],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{arguments} failed: {done.stderr}")
        return done.stdout

    def wait_for_callers(self):
        """Waits until a change of the registry is in force: a proxy looks five times a second."""
        time.sleep(1.0)

    def metrics(self):
        """The exposition text."""
        with urllib.request.urlopen(self.admin + "/metrics", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name, **labels):
        """The sum of the series of `name` that carry these labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            if found := re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line):
                has = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                if found[1] == name and labels.items() <= has.items():
                    total += float(found[3])
        return total

    def entries(self):
        """The ledger, one dictionary for each entry."""
        return entries(self.ledger)

    def wait_for_entries(self, count, seconds, **values):
        """The entries whose columns have these values (all where none is given), once there are
        `count`, or as they are when time is over."""
        deadline = time.monotonic() + seconds
        while True:
            found = [e for e in self.entries() if values.items() <= e.items()]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def entries(ledger):
    """The entries of the ledger in that directory, read while it may be in use."""
    file = pathlib.Path(ledger) / "ledger.sqlite3"
    if not file.exists():
        return []
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("select * from entries")]
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return []
    finally:
        connection.close()


def configuration(ledger, upstream, changes):
    """The TOML of a proxy before `upstream`; `changes` replaces or adds values by section.

    Sections of `changes` are written with `__` for the dot: `upstream__credentials`.
    """
    sections = {
        "listener": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": {"default_region": REGION, "regions": [REGION]},
        "upstream.endpoints": {REGION: upstream},
        "upstream.control_endpoints": {REGION: upstream},
        "upstream.credentials": {
            "access_key_id": UPSTREAM_KEY[0],
            "secret_access_key": UPSTREAM_KEY[1],
        },
        "ledger": {"directory": str(ledger), "commit_interval": "5ms"},
        "shutdown": {"drain_delay": "0s", "drain_timeout": "20s"},
    }
    for section, values in changes.items():
        sections.setdefault(section.replace("__", "."), {}).update(values)
    # JSON strings, numbers, booleans and arrays of them are TOML as well.
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for section, values in sections.items()
    )


class Workspace:
    """A directory of one test and everything started in it; all of it gone afterwards."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="bedrock-meter-test-"))
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for program in reversed(self.running):
            if program.process.poll() is None:
                program.kill()
        if failure[0] is not None:
            for program in self.running:
                print("\n".join(program.text().splitlines()[-15:]))
        shutil.rmtree(self.path, ignore_errors=True)

    def simulator(self, **options):
        return self._keep(Simulator(self.path, **options))

    def proxy(self, upstream, /, *, name="", **changes):
        """A proxy in the directory of that name, so that several have one each."""
        directory = self.path / name
        directory.mkdir(exist_ok=True)
        return self._keep(Proxy(directory, upstream, **changes))

    def _keep(self, program):
        self.running.append(program)
        return program


def run(*arguments, binary=BINARY):
    """Runs the program to its end: exit code and everything it printed."""
    done = subprocess.run(
        [binary, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout
