#!/usr/bin/env python3
"""A private PostgreSQL for tests: made in a directory of its own, on a port that is free, gone
afterwards. `postgres.py COMMAND...` runs a command beside one, with its URL in
BEDROCK_METER_TEST_POSTGRES.

PostgreSQL refuses to run as root, so as root it runs as the user `nobody`.
"""

import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

VARIABLE = "BEDROCK_METER_TEST_POSTGRES"
START_SECONDS_MAX = 60


def programs():
    """The directory of `initdb` and `postgres`; None where they are not installed. Debian keeps
    them out of the path, one directory for each version."""
    found = glob.glob("/usr/lib/postgresql/*/bin")
    found.sort(key=lambda path: int(pathlib.Path(path).parent.name))
    for directory in reversed(found):
        if os.access(f"{directory}/postgres", os.X_OK) and os.access(f"{directory}/initdb", os.X_OK):
            return pathlib.Path(directory)
    there = shutil.which("initdb")
    return pathlib.Path(there).parent if there else None


class Postgres:
    """One running server with a superuser `postgres`; a password is never asked for."""

    def __init__(self, *settings):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="bedrock-meter-postgres-"))
        self.user = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.path, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.data = self.path / "data"
        self.settings = settings
        self.log = self.path / "log"
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                  "--locale", "C", "--no-sync")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None
        self.start()

    def _run(self, name, *arguments):
        done = subprocess.run(
            [programs() / name, *map(str, arguments)], cwd=self.path, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **self.user,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stdout}")
        return done.stdout

    def start(self):
        """Starts it, and waits until it takes connections."""
        options = {"port": self.port, "listen_addresses": "127.0.0.1",
                   "unix_socket_directories": self.path, "fsync": "off", "max_connections": 200}
        options |= dict(setting.split("=", 1) for setting in self.settings)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [programs() / "postgres", "-D", self.data,
                 *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))],
                cwd=self.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **self.user,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start:\n" + self.log.read_text())
            time.sleep(0.05)

    def _answers(self):
        done = subprocess.run(
            [programs() / "psql", *self._connection(), "-c", "SELECT 1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode == 0

    def _connection(self, user="postgres"):
        return ["-X", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", "postgres"]

    def sql(self, text, user="postgres"):
        """What a statement answers, one list of texts for each row."""
        done = subprocess.run(
            [programs() / "psql", *self._connection(user), "-q", "-t", "-A", "-F", "\x1f",
             "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    def url(self, user="postgres"):
        return f"postgres://{user}@127.0.0.1:{self.port}/postgres"

    def stop(self, how=signal.SIGINT):
        """Stops it: SIGINT ends its sessions, SIGQUIT crashes it."""
        self.process.send_signal(how)
        self.process.wait(START_SECONDS_MAX)

    def freeze(self):
        """Stops every process of it where it stands: connections stay, nothing answers."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        for pid in self._backends():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in self._backends():
            os.kill(pid, signal.SIGCONT)
        os.killpg(self.process.pid, signal.SIGCONT)

    def _backends(self):
        """Each has a process group of its own."""
        listed = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]

    def remove(self):
        if self.process and self.process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.path, ignore_errors=True)


def main():
    if not programs():
        print("left out: tests against PostgreSQL: no initdb is installed")
        return subprocess.call(sys.argv[1:])
    server = Postgres()
    try:
        return subprocess.call(sys.argv[1:], env=os.environ | {VARIABLE: server.url()})
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
