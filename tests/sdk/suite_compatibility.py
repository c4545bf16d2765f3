"""Real clients, each operation that they offer, over each transport: the tokens that the client
reports are those of the ledger and of what the simulator served. Writes docs/compatibility.md.

Python clients run in `.venv-compat` (`requirements-compat.txt`), JavaScript in Node, Rust as the
example `rust_client` of the crate. `WRITE_COMPATIBILITY=1` rewrites the page; without it the page
must be current.
"""

import json
import os
import pathlib
import re
import subprocess
import unittest

from harness import BINARY, MODEL, ROOT, Workspace

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = ROOT / ".venv-compat/bin/python"
RUST = BINARY.parent / "examples/rust_client"
PAGE = ROOT / "docs/compatibility.md"
OPERATIONS = ("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream")
CONVERSE, INVOKE = OPERATIONS[:2], OPERATIONS[2:]
PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.M)


def pin(package):
    return dict(PIN.findall((HERE / "requirements-compat.txt").read_text()))[package]


def npm(package):
    return json.loads((HERE / "package.json").read_text())["dependencies"][package]


def crate(package):
    text = (ROOT / "Cargo.lock").read_text()
    return re.search(rf'name = "{package}"\nversion = "([^"]+)"', text)[1]


class Client:
    """A client: who runs it, what it offers, and how its error for a refused call is named."""

    def __init__(self, name, program, version, operations=OPERATIONS, transport="HTTP/1.1", tls=False,
                 throttled="ThrottlingException"):
        self.name, self.program, self.version = name, program, version
        self.operations, self.transport, self.tls, self.throttled = operations, transport, tls, throttled


CLIENTS = [
    Client("boto3", "python", f"boto3 {pin('boto3')}", tls=True),
    Client("aws-cli", "python", f"awscli {pin('awscli')}", ("Converse", "InvokeModel"), tls=True, throttled="CliError"),
    Client("anthropic-python", "python", f"anthropic {pin('anthropic')}", INVOKE, tls=True, throttled="RateLimitError"),
    Client("langchain-aws", "python", f"langchain-aws {pin('langchain-aws')}", tls=True),
    Client("litellm", "python", f"litellm {pin('litellm')}", throttled="RateLimitError"),
    Client("aws-sdk-js (HTTP/2)", "js", f"client-bedrock-runtime {npm('@aws-sdk/client-bedrock-runtime')}",
           transport="HTTP/2", tls=True),
    Client("aws-sdk-js (HTTP/1.1)", "js", f"client-bedrock-runtime {npm('@aws-sdk/client-bedrock-runtime')}", tls=True),
    Client("anthropic-bedrock-sdk", "js", f"@anthropic-ai/bedrock-sdk {npm('@anthropic-ai/bedrock-sdk')}", INVOKE,
           tls=True, throttled="RateLimitError"),
    Client("ai-sdk", "js", f"@ai-sdk/amazon-bedrock {npm('@ai-sdk/amazon-bedrock')}", CONVERSE, tls=True,
           throttled="AI_APICallError"),
    Client("langchain-js", "js", f"@langchain/aws {npm('@langchain/aws')}", CONVERSE, transport="HTTP/2", tls=True),
    Client("aws-sdk-rust", "rust", f"aws-sdk-bedrockruntime {crate('aws-sdk-bedrockruntime')}"),
]

LEFT_OUT = [
    ("aws-sdk-go-v2", "no Go toolchain with this module in the registries of the tests"),
    ("aws-sdk-java-v2", "no Maven repository in the registries of the tests"),
]


def run(program, cases, ca=None, attempts=1):
    """The answers of one driver to its cases; `attempts=None` leaves the SDK's own default."""
    command = {
        "python": [PYTHON, HERE / "compat/python_clients.py"],
        "js": ["node", HERE / "compat/js_clients.mjs"],
        "rust": [RUST],
    }[program]
    # What a client would find in its surroundings is not what is tested.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true"}
    if attempts:
        environment["AWS_MAX_ATTEMPTS"] = str(attempts)
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    if ca:
        environment["NODE_EXTRA_CA_CERTS"] = str(ca)
    done = subprocess.run([*map(str, command)], input=json.dumps(cases), capture_output=True, text=True,
                          timeout=240, check=False, env=environment)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(answers) != len(cases):
        raise RuntimeError(f"{program} clients failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return answers


def certificate(directory):
    """A CA of its own kind: a certificate for 127.0.0.1 that signs itself, and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True)
    return certificate, key


class Compatibility(unittest.TestCase):
    maxDiff = None
    ok = set()

    def hold(self, proxy, simulator, transport, tls):
        """Makes every call of every client and holds what it saw against ledger and bill."""
        base = proxy.url
        for program in ("python", "js", "rust"):
            wanted = [
                (client, operation)
                for client in CLIENTS if client.program == program and (client.tls or not tls)
                for operation in client.operations
            ]
            if not wanted:
                continue
            cases = [
                {"client": client.name, "operation": operation, "model": MODEL, "ca": tls and str(tls),
                 "url": f"{base}/tenant/{tenant(client, operation)}/application/compat"}
                for client, operation in wanted
            ]
            answers = run(program, cases, tls)
            for (client, operation), answer in zip(wanted, answers):
                spoken = transport or client.transport
                with self.subTest(client=client.name, operation=operation, transport=spoken):
                    (entry,) = proxy.wait_for_entries(1, 10, tenant=tenant(client, operation))
                    served = {call["request_id"]: call for call in simulator.served()}
                    bill = served[entry["aws_request_id"]]["usage"]
                    counted = {name: entry[name] for name in ("input_tokens", "output_tokens")}
                    self.assertEqual(
                        (operation, "compat", "reported", "success"),
                        (entry["operation"], entry["application"], entry["usage_source"], entry["outcome"]))
                    self.assertEqual({name: bill[name] for name in counted}, counted)
                    self.assertEqual(counted, answer)
                    self.ok.add((client.name, operation, "TLS" if tls else "clear text"))

    def test_a_clear_text(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            self.hold(workspace.proxy(simulator.url), simulator, None, None)

    def test_b_tls_with_a_private_ca(self):
        with Workspace() as workspace:
            simulator = workspace.simulator()
            ca, key = certificate(workspace.path)
            secured = {"certificate_file": str(ca), "key_file": str(key)}
            self.hold(workspace.proxy(simulator.url, listener__tls=secured), simulator, None, ca)

    def test_c_a_throttled_call_arrives_as_the_clients_own_error(self):
        with Workspace() as workspace:
            simulator = workspace.simulator(refuse="*=ThrottlingException")
            proxy = workspace.proxy(simulator.url)
            for program in ("python", "js", "rust"):
                clients = [client for client in CLIENTS if client.program == program]
                answers = run(program, [
                    {"client": client.name, "operation": client.operations[0], "model": MODEL, "ca": None,
                     "url": proxy.url} for client in clients])
                for client, answer in zip(clients, answers):
                    with self.subTest(client=client.name):
                        self.assertEqual(client.throttled, answer.get("error"), answer)

    def test_d_the_page_is_current(self):
        text = page(self.ok)
        if os.environ.get("WRITE_COMPATIBILITY"):
            PAGE.write_text(text)
        for client, reason in LEFT_OUT:
            print(f"left out: {client}: {reason}")
        self.assertEqual(PAGE.read_text() if PAGE.exists() else "", text,
                         "rewrite it with WRITE_COMPATIBILITY=1 tests/sdk/run.py compatibility")


def tenant(client, operation):
    return re.sub(r"[^a-z0-9]+", "-", f"{client.name}-{operation}".lower()).strip("-")


def page(ok):
    lines = [
        "# Compatibility",
        "",
        "Clients that call through the proxy in every run of the tests. Written by",
        "`tests/sdk/suite_compatibility.py`: each cell is a call whose tokens, as the client reports them,",
        "equal the ledger's and those that the simulator served. Errors: a throttled call reaches the",
        "caller as the named error of the client. How to point each at the proxy: [clients.md](clients.md).",
        "",
        "*ok* is clear text and TLS with a private CA; *clear text* was tried without TLS only.",
        "",
        "| client | version | transport | " + " | ".join(OPERATIONS) + " | throttled |",
        "|" + " --- |" * (len(OPERATIONS) + 4),
    ]
    for client in CLIENTS:
        cells = [cell(client, operation, ok) for operation in OPERATIONS]
        lines.append(f"| {client.name} | {client.version} | {client.transport} | " + " | ".join(cells)
                     + f" | `{client.throttled}` |")
    for name, reason in LEFT_OUT:
        lines.append(f"| {name} | | | " + " | ".join(["left out"] * len(OPERATIONS)) + f" | left out: {reason} |")
    return "\n".join(lines) + "\n"


def cell(client, operation, ok):
    if operation not in client.operations:
        return "not offered"
    clear, tls = ((client.name, operation, how) in ok for how in ("clear text", "TLS"))
    return "ok" if clear and tls else "clear text" if clear else "FAILED"
