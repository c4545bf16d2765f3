#!/usr/bin/env python3
"""The alert rules: their own tests, then a real run in which an alert reaches its receiver.

    tests/alerts.py --binary target/debug/bedrock-meter

Runs `promtool check rules` and `promtool test rules`. Then simulator and proxy with traffic, a
Prometheus with the committed rules and thresholds, an Alertmanager with the committed example and
short waits, and a webhook that must be told: what fires, with its labels, its words and its runbook,
and that it has ended. Needs `prometheus` and `prometheus-alertmanager` (Debian's names of package
and program; upstream calls the latter `alertmanager`); Python's library only.
"""

import argparse
import contextlib
import http.server
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

from panels import (Failed, MODEL, ROOT, announced, call, configuration, free_port, process, until)

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
# Claude Haiku 4.5 in one region costs 1.10 and 5.50 US dollars for a million tokens in and out:
# 1.10 + 50 * 5.50 in one call, more than the 200 dollars a day that thresholds.yml allows any team.
DEAR_CALL, ITS_DOLLARS = "input=1000000,output=50000000", "276.10"


def program(*names):
    found = next((name for name in names if shutil.which(name)), None)
    if not found:
        raise Failed(f"no program {names[0]}: apt-get install {names[0]}")
    return found


def check_rules():
    """promtool's own checks and tests; the number of files that were tested."""
    rules, tests = sorted(RULES.glob("*.yml")), sorted(PROMETHEUS.glob("tests/*.yml"))
    if not tests:
        raise Failed("no tests of rules")
    for what, files in (("check", rules), ("test", tests)):
        done = subprocess.run([program("promtool"), what, "rules", *files],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(done.stdout + done.stderr)
    return len(tests)


def check_cases():
    """Every alert has a case that fires it and one in which it is silent."""
    alerts = set(re.findall(r"- alert: (\w+)", (RULES / "bedrock-meter.rules.yml").read_text()))
    text = "\n".join(file.read_text() for file in sorted(PROMETHEUS.glob("tests/*.yml")))
    firing = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels", text))
    firing |= set(re.findall(r"labels: 'ALERTS\{alertname=\"(\w+)\"", text))
    silent = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts: \[\]", text))
    silent |= set(re.findall(r"ALERTS\{alertname=\"(\w+)\".*\n.*\n\s+exp_samples: \[\]", text))
    if re.search(r"expr: ALERTS\n.*\n\s+exp_samples: \[\]", text):
        # The case in which all is well has every series that alerts of health read.
        health = (RULES / "bedrock-meter.rules.yml").read_text().partition("- name: bedrock-meter-health")[2]
        silent |= set(re.findall(r"- alert: (\w+)", health))
    for name in sorted(alerts):
        if name not in firing or name not in silent:
            raise Failed(f"{name}: no case that {'is silent' if name in firing else 'fires'}")
    return len(alerts)


class Webhook(http.server.BaseHTTPRequestHandler):
    """Keeps every alert that Alertmanager sends."""

    told = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        Webhook.told.extend(json.loads(body)["alerts"])
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def told(status, **labels):
    """The alert of this status and these labels, as soon as the webhook has it."""
    def probe():
        return next((alert for alert in list(Webhook.told) if alert["status"] == status
                     and labels.items() <= alert["labels"].items()), None)
    return until(f"{status} {labels}", probe)


@contextlib.contextmanager
def alertmanager(webhook, directory):
    """An Alertmanager with the committed example, a webhook of ours and no long waits."""
    text = re.sub(r"url: .*", f"url: {webhook}", ALERTMANAGER.read_text())
    text = re.sub(r"(group_wait|group_interval): .*", r"\1: 1s", text)
    file, port = directory / "alertmanager.yml", free_port()
    file.write_text(text)
    arguments = [
        program("prometheus-alertmanager", "alertmanager"), f"--config.file={file}",
        f"--storage.path={directory / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=", "--log.level=error",
    ]
    with process(arguments):
        def ready():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
                return answer.status == 200
        until("Alertmanager", ready)
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def prometheus(target, alertmanager_address, directory):
    """A Prometheus with the committed rules that looks every second."""
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in sorted(RULES.glob("*.yml"))],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager_address]}]}]},
        "scrape_configs": [
            {"job_name": "bedrock-meter", "static_configs": [{"targets": [target]}]},
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    arguments = [
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{free_port()}", "--log.level=error",
    ]
    with process(arguments):
        yield


def check_words(alert, *words):
    """An alert says what it is about, with its number, and where its runbook is."""
    annotations = alert["annotations"]
    for word in words:
        if word not in annotations["summary"] + annotations["description"]:
            raise Failed(f"{word!r} is not in {annotations}")
    if not (ROOT / annotations["runbook_url"]).is_file():
        raise Failed(f"no such runbook: {annotations['runbook_url']}")


def check_delivery(proxy, file, address, received_from):
    """What happens to the proxy is told by Alertmanager."""
    if call(address, "single", "batch", model=MODEL, simulate=DEAR_CALL) != 200:
        raise Failed("the dear call was refused")
    spend = told("firing", alertname="BedrockMeterSpendOverThreshold", tenant="single",
                 period="day", severity="warning")
    check_words(spend, "single", "day", ITS_DOLLARS)

    good = file.read_text()
    file.write_text(good + "\n[listner]\n")
    proxy.send_signal(signal.SIGHUP)
    refused = told("firing", alertname="BedrockMeterConfigRefused", instance=received_from)
    check_words(refused, received_from, "is 1")
    file.write_text(good)  # without a signal: it is looked at
    told("resolved", alertname="BedrockMeterConfigRefused", instance=received_from)
    if any(alert["labels"].get("period") == "month" for alert in Webhook.told):
        raise Failed("the month's threshold of 1000 dollars is not reached")


def check_run(binary, directory):
    webhook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": directory}
    simulate = [binary, "simulate", "--listen", "127.0.0.1:0"]
    with contextlib.ExitStack() as running:
        simulator = running.enter_context(process(simulate, **pipes))
        upstream = announced(simulator, simulator.stdout, "simulator listening on", [])
        file = directory / "bedrock-meter.toml"
        file.write_text(configuration(directory, upstream, free_port(), free_port()))
        proxy = running.enter_context(process([binary, "serve", "--config", str(file)], **pipes))
        log = []
        admin = announced(proxy, proxy.stdout, "admin listener", log).removeprefix("http://")
        line = re.compile(r"data listener\s+http://([^\s/]+)")
        address = until("the data listener", lambda: line.search("\n".join(log)))[1]
        url = f"http://127.0.0.1:{webhook.server_port}/"
        manager = running.enter_context(alertmanager(url, directory))
        running.enter_context(prometheus(admin, manager, directory))
        check_delivery(proxy, file, address, admin)
        # The log says what is wrong, as check-config does.
        if not any("config_problem" in text and "listner" in text for text in log):
            raise Failed("the log does not name the problem")
    webhook.shutdown()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--binary", required=True, help="run this bedrock-meter")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="alerts-") as folder:
        try:
            files, alerts = check_rules(), check_cases()
            print(f"promtool: {files} files of rule tests pass, {alerts} alerts")
            check_run(str(pathlib.Path(chosen.binary).resolve()), pathlib.Path(folder))
        except Failed as cause:
            sys.exit(f"alerts: {cause}")
    print(f"{alerts + 3} passed, 0 failed")


if __name__ == "__main__":
    main()
