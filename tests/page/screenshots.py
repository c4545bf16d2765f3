"""Takes the screenshots of docs/page.md: the page before a proxy with a fixed set of calls."""

import pathlib
import shutil
import sys
import urllib.request

from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk"))
import harness
from suite_page import BODY, FLAGS, begin

SHOTS = [("phone", 390, 844, "light"), ("tablet", 820, 1000, "dark"), ("desktop", 1440, 900, "light")]
CALLS = [
    ("research", "papers", harness.MODEL, "input=812000,output=96000"),
    ("research", "agents", "anthropic.claude-haiku-4-5-20251001-v1:0", "input=1400000,output=210000"),
    ("search", "ranking", "amazon.nova-lite-v1:0", "input=2300000,output=150000"),
    ("search", "chat", harness.MODEL, "input=240000,output=51000"),
    ("support", "triage", "amazon.nova-pro-v1:0", "input=640000,output=80000"),
]


def call(proxy, tenant, application, model, script):
    url = f"{proxy.url}/tenant/{tenant}/application/{application}/model/{model}/converse"
    request = urllib.request.Request(url, BODY, {"content-type": "application/json", "x-simulate": script})
    urllib.request.urlopen(request, timeout=30).read()


def main():
    folder = harness.ROOT / "docs/page"
    folder.mkdir(exist_ok=True)
    with harness.Workspace() as space, sync_playwright() as playwright:
        proxy = space.proxy(space.simulator().url)
        for one in CALLS:
            call(proxy, *one)
        proxy.wait_for_entries(len(CALLS), 20)
        streams = [begin(proxy, tenant, operation="converse-stream", **{"x-simulate": "frames=9000,frame-delay-ms=50"})
                   for tenant in ("research", "support")]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, width, height, scheme in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(proxy.admin + "/")
            expect(page.locator("#rows tr").first).to_be_visible(timeout=30_000)
            expect(page.locator("#open-rows tr")).to_have_count(len(streams))
            page.screenshot(path=folder / f"{name}.png", full_page=True)
            page.close()
        browser.close()
        for stream in streams:
            stream.close()


main()
