#!/usr/bin/env python3
"""Holds deploy/ against the formats it is written in, without a cluster, a Docker engine or AWS.

    tests/deploy.py --helm .venv/helm/helm

Helm itself renders the chart; published schemas of Kubernetes, a strict reader of compose files,
botocore's model of ECS and a linter of IAM policies judge what is there; the program judges its
own configurations. A backup of a running ledger is restored and its report compared.
Needs the packages of tests/sdk/requirements.txt and the built program (BEDROCK_METER).
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
import urllib.request

import botocore.session
import botocore.validate
import compose_spec
import hcl2
import kubernetes_validate
import parliament
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/bedrock-meter"
KUBERNETES = "1.33"
sys.path.insert(0, str(ROOT / "tests/sdk"))
import harness  # noqa: E402

TERRAFORM = json.loads((ROOT / "tests/terraform-schema.json").read_text())
META_ARGUMENTS = {"for_each", "count", "depends_on", "lifecycle", "provider"}
DASHBOARDS = sorted((ROOT / "grafana/dashboards").glob("*.json"))
RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))

# Each set of values is a way to install: what is given to `helm template`.
INSTALLATIONS = {
    "default": [],
    "tls": ["--set", "tls.secretName=proxy-tls"],
    "service monitor": ["--set", "serviceMonitor.enabled=true", "--set", "serviceMonitor.labels.release=x"],
    "master key from the secret": ["--set", "auth.masterKey=true"],
    "irsa": [
        "--set", r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::123456789012:role/bedrock-meter",
        "--set", "regions={us-east-1,eu-west-1}",
    ],
    "dashboards": [
        "--set", "grafanaDashboards.enabled=true",
        *(f"--set-file=grafanaDashboards.files.{file.stem}={file}" for file in DASHBOARDS),
    ],
    "behind a balancer": [
        "--set", "service.type=LoadBalancer", "--set", "proxyProtocol=true", "--set", "trustedProxies={10.1.0.0/16}",
        "--set", "trustedNetworks={10.2.0.0/16}", "--set", "shutdown.drainTimeoutSeconds=3600",
        "--set", "networkPolicy.enabled=true", "--set", "podDisruptionBudget.enabled=false",
        "--set", "networkPolicy.dataFrom[0].ipBlock.cidr=10.0.0.0/8", "--set", "persistence.storageClassName=gp3",
        "--set", "extraConfig=[identity.tenants.research]",
    ],
}
# Kinds of operators, which have no schema in Kubernetes.
CUSTOM_KINDS = {"ServiceMonitor", "PrometheusRule"}


def seconds(duration):
    """A duration as TOML, compose or systemd writes it."""
    number, unit = re.fullmatch(r"(\d+)(s|m|min|h)", duration).groups()
    return int(number) * {"s": 1, "m": 60, "min": 60, "h": 3600}[unit]


def drain_limits(toml):
    """Seconds of [shutdown]: the delay and the timeout."""
    return tuple(seconds(re.search(rf'^{key} = "(\w+)"', toml, re.M)[1]) for key in ("drain_delay", "drain_timeout"))


def check_config(toml):
    """The program takes this configuration, with secrets put in its place."""
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=x", "-keyout", directory / "tls.key", "-out", directory / "tls.crt"],
            check=True, capture_output=True,
        )
        for name in ("admin-token", "metrics-token"):
            (directory / name).write_text("a" * 64)
        toml = re.sub(r'"/(?:run/secrets|etc/bedrock-meter/tls)/', f'"{directory}/', toml)
        toml = re.sub(r"\$\{\w+_TOKEN\}", "b" * 64, toml).replace("${AWS_REGION}", "us-east-1")
        toml = toml.replace("${BEDROCK_METER_MASTER_KEY}", "1:" + "A" * 43)
        file = directory / "bedrock-meter.toml"
        file.write_text(toml)
        code, said = harness.run("check-config", file)
        assert code == 0, said


def helm(*arguments):
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


def render(arguments):
    done = helm("template", "bedrock-meter", str(CHART), "--namespace", "bedrock-meter", *arguments)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(documents, kind):
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of {kind}"
    return found[0]


def helm_lint():
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def installation(arguments):
    documents = render(arguments)
    for document in documents:
        if document["kind"] not in CUSTOM_KINDS:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    pods_are_confined_and_have_time(documents)
    references_lead_somewhere(documents)
    check_config(config_map(documents))


def dashboards(documents):
    return [d for d in documents if d["kind"] == "ConfigMap" and "bedrock-meter.toml" not in d["data"]]


def config_map(documents):
    maps = [d["data"] for d in documents if d["kind"] == "ConfigMap"]
    return next(data["bedrock-meter.toml"] for data in maps if "bedrock-meter.toml" in data)


def pods_are_confined_and_have_time(documents):
    stateful = one(documents, "StatefulSet")["spec"]
    assert stateful["replicas"] == 1, "SQLite has one writer"
    pod = stateful["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= sum(drain_limits(config_map(documents))) + 10
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    (container,) = pod["containers"]
    confined = container["securityContext"]
    assert confined["readOnlyRootFilesystem"] and not confined["allowPrivilegeEscalation"]
    assert confined["capabilities"]["drop"] == ["ALL"]


def references_lead_somewhere(documents):
    stateful = one(documents, "StatefulSet")
    pod = stateful["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"].items()
    ports = {port["name"] for port in container["ports"]}
    volumes = {v["name"] for v in pod["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    services = [d for d in documents if d["kind"] == "Service"]
    assert stateful["spec"]["serviceName"] in {s["metadata"]["name"] for s in services}
    for service in services:
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for document in (d for d in documents if d["kind"] == kind):
            selector = document["spec"].get("selector") or document["spec"]["podSelector"]
            assert selector["matchLabels"].items() <= labels
    for monitor in (d for d in documents if d["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        assert monitor["spec"]["endpoints"][0]["port"] in {p["name"] for p in service["spec"]["ports"]}


def dashboards_are_whole():
    documents = render(INSTALLATIONS["dashboards"])
    found = {name: text for found in dashboards(documents) for name, text in found["data"].items()}
    assert {name: json.loads(text) for name, text in found.items()} == {
        file.name: json.loads(file.read_text()) for file in DASHBOARDS
    }
    for config_map in dashboards(documents):
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"


def rules_become_a_prometheus_rule():
    rules = [f"--set-file=prometheusRule.rules.{file.stem.replace('.', '-')}={file}" for file in RULES]
    documents = render(["--set", "prometheusRule.enabled=true", *rules])
    groups = [group for d in documents if d["kind"] == "PrometheusRule" for group in d["spec"]["groups"]]
    expected = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    by_name = lambda group: group["name"]
    assert sorted(groups, key=by_name) == sorted(expected, key=by_name)


def helm_refuses_bad_values():
    for value in ("shutdown.marginSeconds=1", "service.type=Magic", "replicas=3", "trustedNetworks={anyone}"):
        done = helm("template", "x", str(CHART), "--set", value)
        assert done.returncode != 0, f"{value} was taken"


def compose():
    text = (DEPLOY / "compose/compose.yaml").read_text()
    compose_spec.PyCompose.from_yaml(text).validate()
    document = yaml.safe_load(text)
    for name, service in document["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert set(service.get("secrets", [])) <= set(document["secrets"]), name
        assert set(service.get("depends_on", [])) <= set(document["services"]), name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if not source.startswith("."):
                assert source in document["volumes"], volume
            else:
                assert (DEPLOY / "compose" / source).exists(), f"{name}: {source} does not exist"
    for port in (port for service in document["services"].values() for port in service.get("ports", [])):
        assert port.startswith("127.0.0.1:"), port
    toml = (DEPLOY / "compose/bedrock-meter.toml").read_text()
    check_config(toml)
    grace = seconds(document["services"]["bedrock-meter"]["stop_grace_period"])
    assert grace > sum(drain_limits(toml))
    subnet = document["networks"]["meter"]["ipam"]["config"][0]["subnet"]
    assert f'"{subnet}"' in toml, "the compose network is trusted"


def prometheus():
    file = DEPLOY / "prometheus/prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", "--syntax-only", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    targets = re.findall(r'targets: \["([\w-]+):', file.read_text())
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    assert set(targets) - {"localhost"} <= set(services)


def ecs_task():
    task = json.loads((DEPLOY / "ecs/task-definition.json").read_text())
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(task, shape)
    assert not report.has_errors(), report.generate_report()
    (container,) = task["containerDefinitions"]
    volumes = {volume["name"] for volume in task["volumes"]}
    assert {mount["sourceVolume"] for mount in container["mountPoints"]} == volumes
    # The image's configuration leaves [shutdown] at its defaults.
    defaults = drain_limits((ROOT / "config/bedrock-meter.toml").read_text())
    assert "[shutdown]" not in (DEPLOY / "container.toml").read_text()
    assert container["stopTimeout"] > sum(defaults)
    assert task["requiresCompatibilities"] == ["EC2"], "Fargate stops a task after two minutes"


def terraform():
    blocks = {"resource": set(), "data": set(), "variable": set()}
    text = ""
    for file in sorted((DEPLOY / "terraform").glob("*.tf")):
        text += re.sub(r"#.*", "", file.read_text())
        with file.open() as opened:
            parsed = hcl2.load(opened)
        for kind in ("resource", "data"):
            for block in parsed.get(kind, []):
                for type_name, named in block.items():
                    blocks[kind] |= {f"{unquoted(type_name)}.{unquoted(name)}" for name in named}
                    for body in named.values():
                        provider_takes(body, TERRAFORM[f"{kind}.{unquoted(type_name)}"], type_name, META_ARGUMENTS)
        blocks["variable"] |= {unquoted(name) for block in parsed.get("variable", []) for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == blocks["variable"], "variables declared and used"
    assert set(re.findall(r"\bdata\.(aws_\w+\.\w+)", text)) == blocks["data"], "data declared and used"
    used = set(re.findall(r"(?<!data\.)\b(aws_\w+\.\w+)\.", text))
    assert used <= blocks["resource"], used - blocks["resource"]
    for path in re.findall(r'file\("\$\{path\.module\}/([^"]+)"\)', text):
        assert (DEPLOY / "terraform" / path).exists(), path
    if shutil.which("terraform"):
        done = subprocess.run(["terraform", f"-chdir={DEPLOY}/terraform", "fmt", "-check"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    else:
        print("left out: terraform fmt, as there is no terraform here")
    print("left out: terraform validate, as the AWS provider is in no package registry; held against its schema instead")


def provider_takes(body, arguments, place, also=frozenset()):
    """A block gives what the provider demands and nothing that it does not know (`terraform-schema.json`)."""
    given = {name: value for name, value in body.items() if not name.startswith("__")}
    assert not given.keys() - arguments.keys() - also, f"{place}: {given.keys() - arguments.keys()} unknown"
    demanded = {name for name, argument in arguments.items() if argument["required"]}
    assert demanded <= given.keys(), f"{place}: {demanded - given.keys()} missing"
    for name, value in given.items():
        within = arguments.get(name, {}).get("within")
        for one in value if within and isinstance(value, list) else ():
            provider_takes(one, within, f"{place}.{name}")


def terraform_mistakes_are_seen():
    arguments = TERRAFORM["resource.aws_lb_listener"]
    good = {"load_balancer_arn": "x", "default_action": [{"type": "forward"}]}
    provider_takes(good, arguments, "listener")
    for bad in (good | {"tcp_idle_seconds": 1}, good | {"default_action": [{"kind": "forward"}]}, {"port": 1}):
        try:
            provider_takes(bad, arguments, "listener")
        except AssertionError:
            continue
        raise AssertionError(f"{bad} was taken")


def unquoted(name):
    return name.strip('"')


# Actions of the service authorization reference that are no operation of an API.
NO_OPERATION = {"bedrock:CallWithBearerToken", "sts:TagSession"}
# Newer than the linter's list; botocore knows them.
FINDINGS_LEFT = {"RESOURCE_STAR", "RESOURCE_MISMATCH", "UNKNOWN_ACTION"}


def iam():
    session = botocore.session.get_session()
    known = set(NO_OPERATION)
    for service in ("bedrock", "bedrock-runtime"):
        known |= {f"bedrock:{name}" for name in session.get_service_model(service).operation_names}
    known |= {f"sts:{name}" for name in session.get_service_model("sts").operation_names}
    policies = {file.stem: json.loads(file.read_text()) for file in (DEPLOY / "iam").glob("*.json")}
    assert len(policies) >= 7
    for name, policy in policies.items():
        assert policy["Version"] == "2012-10-17", name
        if name.startswith("trust-"):
            (statement,) = policy["Statement"]
            assert "Resource" not in statement and statement["Principal"], name
            continue
        analysed = parliament.analyze_policy_string(json.dumps(policy))
        found = {finding.issue for finding in analysed.findings} - FINDINGS_LEFT
        assert not found, f"{name}: {found}"
        for statement in policy["Statement"]:
            assert set(statement["Action"]) <= known, set(statement["Action"]) - known
            assert ("Principal" in statement) == name.endswith("vpce"), f"{name}: Principal"
    scp = json.dumps(policies["deny-direct"])
    assert len(scp) <= 5120, "the limit of a service control policy"
    ways = {f"bedrock:{name}" for name in known_invocations(session)}
    (denied,) = policies["deny-direct"]["Statement"]
    assert ways <= set(denied["Action"]), ways - set(denied["Action"])
    allowed = {action for s in policies["proxy-policy"]["Statement"] for action in s["Action"]}
    assert not [action for action in allowed if "*" in action], "least privilege names each action"
    assert '"Effect": "Deny"' in scp and '"Allow"' not in scp


def known_invocations(session):
    """The operations that call a model with rights of their own; Converse and async calls use InvokeModel's."""
    names = session.get_service_model("bedrock-runtime").operation_names
    return [name for name in names if name.startswith("InvokeModel")]


def systemd():
    unit = (DEPLOY / "systemd/bedrock-meter.service").read_text()
    stop = seconds(re.search(r"^TimeoutStopSec=(\w+)", unit, re.M)[1])
    assert stop > sum(drain_limits((ROOT / "config/bedrock-meter.toml").read_text()))


def container_configuration():
    check_config((DEPLOY / "container.toml").read_text())


CALLS = 300


def backup_of_a_running_ledger():
    """The ways of docs/deploy.md, while calls are settled; then once more at rest, to compare."""
    with harness.Workspace() as workspace:
        proxy = workspace.proxy(workspace.simulator().url)
        during, after = workspace.path / "during", workspace.path / "after"
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            calls = [clients.submit(call, proxy.url, number) for number in range(CALLS)]
            calls[CALLS // 4].result()
            back_up(proxy.ledger, during, vacuum=False)
            ours = workspace.path / "ours.sqlite3"
            succeed("ledger", "backup", ours, "--ledger", proxy.ledger)
            for made in calls:
                made.result()
        whole = proxy.wait_for_entries(CALLS, 30)
        assert len(whole) == CALLS
        early = harness.entries(during)
        assert early, "the backup caught entries"
        originals = {entry["call_id"]: entry for entry in whole}
        assert all(originals[entry["call_id"]] == entry for entry in early), "no row is torn or changed"
        back_up(proxy.ledger, after, vacuum=True)
        assert report(after) == report(proxy.ledger)
        last = workspace.path / "last.sqlite3"
        succeed("ledger", "backup", last, "--ledger", proxy.ledger)
        code, said = harness.run("ledger", "restore", last, "--ledger", proxy.ledger)
        assert code == 1 and f"(pid {proxy.process.pid})" in said, said
        assert proxy.terminate() == 0
        code, said = harness.run("ledger", "restore", ours, "--ledger", proxy.ledger)
        assert code == 1 and "--force" in said, said
        succeed("ledger", "restore", last, "--ledger", proxy.ledger)
        for restored, copy in (("early", ours), ("late", last)):
            elsewhere = workspace.path / restored
            succeed("ledger", "restore", copy, "--ledger", elsewhere)
            succeed("ledger", "verify", "--ledger", elsewhere)
        assert report(workspace.path / "late") == report(after)
        proxy.ledger.rename(workspace.path / "lost")
        after.rename(proxy.ledger)
        again = workspace.proxy(workspace.running[0].url)
        call(again.url, CALLS)
        assert len(again.wait_for_entries(CALLS + 1, 30)) == CALLS + 1, "a restored ledger is written on"


def call(url, number):
    request = urllib.request.Request(
        f"{url}/tenant/team-{number % 3}/application/app/model/{harness.MODEL}/converse",
        data=b'{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}',
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def back_up(ledger, directory, vacuum):
    """`VACUUM INTO`, or `.backup` of the sqlite3 tool, whose function Python has as well."""
    directory.mkdir()
    source = sqlite3.connect(f"file:{ledger}/ledger.sqlite3?mode=ro", uri=True, timeout=30)
    copy = directory / "ledger.sqlite3"
    if vacuum:
        source.execute("VACUUM INTO ?", [str(copy)])
    else:
        target = sqlite3.connect(copy)
        source.backup(target)
        target.close()
    source.close()
    restored = sqlite3.connect(copy)
    assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    restored.close()


def succeed(*arguments):
    code, said = harness.run(*arguments)
    assert code == 0, said


def report(ledger):
    code, said = harness.run("report", "--ledger", ledger, "--from", "2020-01-01", "--to", "2100-01-01", "--format", "json")
    assert code == 0, said
    return json.loads(said)


def main():
    global HELM
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--helm", required=True, help="the helm program")
    HELM = str(pathlib.Path(parser.parse_args().helm).resolve())
    cases = {"helm lint": helm_lint}
    for name, arguments in INSTALLATIONS.items():
        cases[f"chart: {name}"] = lambda arguments=arguments: installation(arguments)
    cases |= {
        "chart: dashboards are whole": dashboards_are_whole,
        "chart: rules become a PrometheusRule": rules_become_a_prometheus_rule,
        "chart: bad values are refused": helm_refuses_bad_values,
        "compose": compose,
        "prometheus": prometheus,
        "ECS task definition": ecs_task,
        "terraform": terraform,
        "terraform: mistakes are seen": terraform_mistakes_are_seen,
        "IAM": iam,
        "systemd": systemd,
        "configuration of the image": container_configuration,
        "backup and restore": backup_of_a_running_ledger,
    }
    failed = 0
    for name, case in cases.items():
        try:
            case()
            print(f"ok      {name}")
        except Exception:  # noqa: BLE001: a broken case must not hide the others
            failed += 1
            print(f"FAILED  {name}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
