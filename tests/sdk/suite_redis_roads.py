"""How replicas reach a real Redis: by TLS, as a user with least rights, in a cluster.

`doctor` and a replica that serves say the same of each, and neither prints a secret.
"""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
import unittest

from harness import BINARY, ROOT, Workspace
from suite_budgets import call
from suite_shared_budgets import MODE
from suite_store import until

PASSWORD = "hunter2-of-the-meter"
BUDGET = {"budgets__all": {"limit_usd": "1", "action": "block"}}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Redis:
    """`redis-server` on a port of its own, spoken to by a socket file."""

    def __init__(self, directory, arguments=lambda port: ("--port", port)):
        directory.mkdir()
        self.socket = directory / "redis.sock"
        # Somebody else may have taken the port meanwhile.
        for _ in range(20):
            self.port = free_port()
            self.process = subprocess.Popen(
                ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory,
                 "--unixsocket", self.socket, *map(str, arguments(self.port))],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            lines = []
            if any("eady to accept connections" in line for line in iter(self.process.stdout.readline, "")
                   if lines.append(line) is None):
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return
            self.process.wait(30)
        raise RuntimeError("".join(lines))

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def command(self, *words):
        done = subprocess.run(["redis-cli", "-e", "-s", self.socket, *map(str, words)],
                              capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip()


@unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed")
class Roads(unittest.TestCase):
    def setUp(self):
        self.workspace = self.enterContext(Workspace())
        self.simulator = self.workspace.simulator()

    def redis(self, name="redis", **options):
        redis = Redis(self.workspace.path / name, **options)
        self.addCleanup(redis.kill)
        return redis

    @contextlib.contextmanager
    def replica(self, store):
        """One that serves with such a store, and what `doctor` says of the store."""
        name = f"replica-{len(self.workspace.running)}"
        store = {"deployment": "roads", "timeout": "5s"} | store
        proxy = self.workspace.proxy(self.simulator.url, name=name, budget_store=store,
                                     when={"budget_store_down": "refuse"}, **BUDGET)
        done = subprocess.run([BINARY, "doctor", "--format", "json", "--config", proxy.config],
                              capture_output=True, text=True, timeout=120, check=False)
        [check] = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "budget_store"]
        yield proxy, check
        said = proxy.text() + done.stdout + done.stderr
        self.assertEqual(0, proxy.terminate(), proxy.text())
        self.assertNotIn(PASSWORD, said)

    def works(self, store):
        with self.replica(store) as (proxy, check):
            self.assertIn(check["result"], ("ok", "warning"), check)
            until("it shares", lambda: proxy.metric(MODE, mode="shared") == 1)
            self.assertEqual(200, call(proxy, "team", 10)[0], proxy.text())

    def fails(self, store, *words):
        with self.replica(store) as (proxy, check):
            self.assertEqual("failed", check["result"], check)
            self.assertEqual(0, proxy.metric(MODE, mode="shared"))
            status, headers, _ = call(proxy, "team", 10)
            self.assertEqual((503, "budget_store_unavailable"), (status, headers.get("x-bedrock-meter-error")))
            for word in words:
                self.assertIn(word, check["seen"])
                self.assertIn(word, proxy.text())

    def certificate(self, name):
        key, file = (self.workspace.path / f"{name}.{kind}" for kind in ("key", "pem"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", file],
            capture_output=True, check=True)
        return key, file

    def test_only_a_redis_that_proves_its_name_is_spoken_to(self):
        key, certificate = self.certificate("server")
        _, other = self.certificate("other")
        redis = self.redis(arguments=lambda port: (
            "--port", 0, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key,
            "--tls-auth-clients", "no", "--requirepass", PASSWORD))
        url = f"rediss://:{PASSWORD}@localhost:{redis.port}"
        with self.subTest("the right authority"):
            self.works({"redis_url": url, "ca_file": str(certificate)})
        with self.subTest("another authority"):
            self.fails({"redis_url": url, "ca_file": str(other)}, "invalid peer certificate")
        with self.subTest("only the system's authorities"):
            self.fails({"redis_url": url}, "invalid peer certificate")
        with self.subTest("another name"):
            self.fails({"redis_url": url.replace("localhost", "127.0.0.1"), "ca_file": str(certificate)},
                       "invalid peer certificate: certificate not valid for name")
        with self.subTest("in clear text"):
            self.fails({"redis_url": url.replace("rediss", "redis")})
        with self.subTest("another password"):
            self.fails({"redis_url": url.replace(PASSWORD, "wrong"), "ca_file": str(certificate)}, "authentication failed")

    def test_a_redis_without_tls_is_told_nothing_by_rediss(self):
        redis = self.redis()
        self.fails({"redis_url": f"rediss://meter:{PASSWORD}@localhost:{redis.port}"}, "no answer in time")
        self.assertNotIn("AUTH", redis.command("INFO", "commandstats").upper())

    def test_the_user_of_the_documentation_has_all_rights_that_replicas_need(self):
        text = (ROOT / "docs/budgets.md").read_text()
        [line] = re.findall(r"ACL SETUSER meter [^\n]+(?:\n  [^\n]+)*", text)
        words = line.replace("production", "roads").replace("SECRET", PASSWORD).split()
        redis = self.redis()
        redis.command(*words)
        with self.subTest("no right less than scripts use"):
            scripts = "".join(file.read_text() for file in (ROOT / "src/replicas/scripts").glob("*.lua"))
            used = {name.lower() for name in re.findall(r"redis\.call\('(\w+)'", scripts)}
            granted = {word.removeprefix("+").split("|")[0] for word in words if word.startswith("+")}
            self.assertLessEqual(used, granted)
        url = f"redis://meter:{PASSWORD}@127.0.0.1:{redis.port}"
        with self.subTest("it serves"):
            self.works({"redis_url": url})
            self.assertEqual("", redis.command("ACL", "LOG"))
        with self.subTest("another deployment's keys are not its own"):
            self.fails({"redis_url": url, "deployment": "other"}, "NoPerm")
        with self.subTest("without the right to run scripts"):
            redis.command("ACL", "SETUSER", "meter", "-eval", "-evalsha")
            self.fails({"redis_url": url}, "NoPerm")

    def test_each_node_of_a_cluster_leads_to_the_one_that_has_the_keys(self):
        nodes = [self.redis(name, arguments=lambda port: (
            "--port", port, "--cluster-enabled", "yes", "--cluster-port", free_port(), "--requirepass", PASSWORD,
            "--masterauth", PASSWORD)) for name in ("one", "two")]

        def at(node, *words):
            return node.command("--no-auth-warning", "-a", PASSWORD, *words)

        at(nodes[0], "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        at(nodes[1], "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        bus = at(nodes[1], "CONFIG", "GET", "cluster-port").split()[-1]
        at(nodes[0], "CLUSTER", "MEET", "127.0.0.1", nodes[1].port, bus)
        for node in nodes:
            until("the cluster stands", lambda node=node: "cluster_state:ok" in at(node, "CLUSTER", "INFO"))
        for node in nodes:
            with self.subTest(node=node.port):
                self.works({"redis_url": f"redis://:{PASSWORD}@127.0.0.1:{node.port}"})
        with self.subTest("keys are on one node"):
            counts = [int(at(node, "DBSIZE")) for node in nodes]
            self.assertEqual(1, counts.count(0), counts)
        with self.subTest("the slot moves while calls go on"):
            store = {"redis_url": f"redis://:{PASSWORD}@127.0.0.1:{nodes[0].port}"}
            with self.replica(store) as (proxy, _):
                until("it shares", lambda: proxy.metric(MODE, mode="shared") == 1)
                slot = at(nodes[0], "CLUSTER", "KEYSLOT", "{bm:roads}")
                to = nodes[int(counts[0] > 0)]
                name = at(to, "CLUSTER", "MYID")
                at(nodes[int(counts[1] > 0)], "FLUSHALL")
                for node in (to, nodes[int(counts[1] > 0)]):
                    at(node, "CLUSTER", "SETSLOT", slot, "NODE", name)
                until("it shares there", lambda: int(at(to, "DBSIZE")) > 0
                      and proxy.metric(MODE, mode="shared") == 1 and call(proxy, "team", 10)[0] == 200)
