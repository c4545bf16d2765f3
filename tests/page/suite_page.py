"""The admin listener's page in headless Chromium, against a proxy in front of the simulator."""

import fractions
import json
import pathlib
import re
import shutil
import sys
import unittest
import urllib.request

from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk"))
import harness
import provider

FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).encode()


def begin(proxy, tenant, application="app", operation="converse", **headers):
    """One call, its head read and its body not yet."""
    url = f"{proxy.url}/tenant/{tenant}/application/{application}/model/{harness.MODEL}/{operation}"
    request = urllib.request.Request(url, BODY, {"content-type": "application/json", **headers})
    return urllib.request.urlopen(request, timeout=30)


def call(proxy, tenant, application="app"):
    """One Converse call; its id."""
    with begin(proxy, tenant, application) as answer:
        answer.read()
        return answer.headers["x-bedrock-meter-call-id"]


def contrast(one, other):
    """The contrast of two colours `rgb(r, g, b)`, as WCAG 2 defines it."""
    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts))
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


class Page(unittest.TestCase):
    def setUp(self):
        self.space = self.enterContext(harness.Workspace())
        self.simulator = self.space.simulator()
        self.proxy = self.space.proxy(self.simulator.url)
        chromium = self.enterContext(sync_playwright()).chromium
        browser = chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        self.addCleanup(browser.close)
        self.page = browser.new_page(viewport={"width": 390, "height": 800})
        self.errors, self.asked = [], []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))

    def open(self):
        self.page.goto(self.proxy.admin + "/")
        expect(self.page.locator("#updated")).to_contain_text("Updated", timeout=30_000)

    def report(self):
        arguments = ["report", "--by", "tenant,application", "--format", "json", "--ledger", self.proxy.ledger]
        return json.loads(harness.run(*arguments)[1])

    def test_without_calls_it_says_what_to_export_and_asks_nobody_else(self):
        self.open()
        expect(self.page.locator("#empty")).to_contain_text("AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
        self.assertEqual(self.errors, [])
        self.assertTrue(all(url.startswith((self.proxy.admin, "data:")) for url in self.asked), self.asked)

    def test_nothing_but_its_own_three_files_may_run_in_it(self):
        with urllib.request.urlopen(self.proxy.admin + "/", timeout=30) as answer:
            policy = answer.headers["content-security-policy"]
            self.assertNotRegex(answer.read().decode(), r"<script>|<style| style=| on\w+=")
        self.assertIn("default-src 'none'", policy)
        self.assertNotRegex(policy, r"unsafe|\*|https?:")

    def test_it_follows_a_demo_while_it_runs(self):
        demo = harness.Program("demo", "--directory", self.space.path / "demo", announce=["admin listener"])
        self.addCleanup(demo.kill)
        self.page.goto(demo.announced["admin listener"] + "/")
        month = self.page.locator("#month")
        expect(month).to_contain_text("$", timeout=30_000)
        for _ in range(3):
            expect(month).not_to_have_text(month.inner_text(), timeout=30_000)
        self.assertGreaterEqual(self.page.locator("#rows tr").count(), 5, "teams of the demo")
        self.assertEqual(self.errors, [])

    def test_at_phone_width_nothing_needs_sideways_scrolling(self):
        long = "a-name-as-long-as-nobody-wants-it-" + "x" * 26
        call_id = call(self.proxy, long, long)
        self.proxy.wait_for_entries(1, 30)
        with begin(self.proxy, long, operation="converse-stream",
                   **{"x-simulate": "frames=400,frame-delay-ms=50"}) as answer:
            self.open()
            expect(self.page.locator("#open-rows th")).to_have_text(long, timeout=15_000)
            self.page.fill("#call", call_id)
            self.page.keyboard.press("Enter")
            expect(self.page.locator("#answer dt", has_text="charge.cost_usd")).to_have_count(1)
            wide = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            self.assertLessEqual(*wide)
            answer.close()

    def test_the_bar_is_full_where_all_usage_is_reported(self):
        call(self.proxy, "research")
        self.proxy.wait_for_entries(1, 30)
        self.open()
        expect(self.page.locator("#trust")).to_contain_text("0 of 1 calls", timeout=30_000)
        bar, reported = (self.page.locator(place).bounding_box()["width"] for place in (".bar", "#bar-reported"))
        self.assertAlmostEqual(bar, reported, delta=0.5)

    def test_numbers_equal_the_report_and_arrive_without_a_reload(self):
        self.open()
        for tenant in ("research", "research", "search"):
            call(self.proxy, tenant)
        self.assertEqual(len(self.proxy.wait_for_entries(3, 30)), 3)
        report = self.report()
        expect(self.page.locator("#month")).to_have_text("$" + report["total"]["cost_usd"], timeout=30_000)
        shown = [[cell.inner_text() for cell in row.locator("th, td").all()]
                 for row in self.page.locator("#rows tr").all()]
        expected = [[row["tenant"], row["application"], "$" + row["cost_usd"], "$" + row["cost_usd"],
                     str(row["calls"])] for row in report["rows"]]
        self.assertEqual(sorted(shown), sorted(expected))
        self.assertEqual(self.errors, [])

    def test_a_call_is_explained_as_on_the_command_line(self):
        call_id = call(self.proxy, "research")
        self.proxy.wait_for_entries(1, 30)
        said = harness.run("explain", call_id, "--format", "json", "--ledger", self.proxy.ledger)[1]
        cost = json.loads(said)["charge"]["cost_usd"]
        self.open()
        self.page.fill("#call", call_id)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#answer dt", has_text="charge.cost_usd")).to_have_count(1)
        bill = [[cell.inner_text() for cell in row.locator("th, td").all()]
                for row in self.page.locator("#answer tbody tr").all()]
        lines = json.loads(said)["charge"]["lines"]
        self.assertEqual([(row[0], int(row[1])) for row in bill[:-1]],
                         [(line["dimension"], line["quantity"]) for line in lines])
        total = sum((fractions.Fraction(row[3].removeprefix("$")) for row in bill[:-1]), fractions.Fraction(0))
        self.assertEqual((bill[-1][0], fractions.Fraction(bill[-1][3].removeprefix("$"))), ("Cost", total))
        shown = dict(zip(self.page.locator("#answer dt").all_inner_texts(),
                         self.page.locator("#answer dd").all_inner_texts()))
        self.assertEqual((shown["charge.cost_usd"], shown["call_id"]), (cost, call_id))
        self.page.fill("#call", "<b>x</b>")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#answer")).to_contain_text("not a call id")
        self.assertEqual(self.page.locator("#answer b").count(), 0)

    def test_budgets_show_what_is_spent_and_left_as_the_command_line(self):
        self.proxy.terminate()
        long = "tenant-as-long-as-nobody-wants-" + "x" * 30
        budget = {"limit_usd": "2", "tenant": "*", "owner": "<b>x</b>"}
        self.proxy = self.space.proxy(self.simulator.url, budgets__teams=budget,
                                      budgets__all={"limit_usd": "1000000"})
        for tenant in ("research", long):
            call(self.proxy, tenant)
        self.proxy.wait_for_entries(2, 30)
        self.open()
        expect(self.page.locator("#budget-rows tr")).to_have_count(3, timeout=30_000)
        code, said = harness.run("budgets", "show", "--server", self.proxy.admin, "--format", "json")
        expected = sorted([f"{one['budget']} ({one['period']})", one["subject"] or "everybody",
                           *("$" + one[name] for name in ("limit_usd", "spent_usd", "remaining_usd"))]
                          for one in json.loads(said)["budgets"])
        shown = sorted([row.locator("th, td").nth(n).inner_text() for n in (0, 1, 2, 3, 5)]
                       for row in self.page.locator("#budget-rows tr").all())
        self.assertEqual((code, shown), (0, expected))
        spent = fractions.Fraction(expected[1][3].removeprefix("$"))
        self.assertGreater(spent, 0)
        wide = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        self.assertLessEqual(*wide)
        self.assertEqual(self.errors, [])

    def test_it_outlives_a_restart_of_the_server_and_keeps_its_numbers(self):
        call(self.proxy, "research")
        self.proxy.wait_for_entries(1, 30)
        self.open()
        cost = self.page.locator("#month").inner_text()
        self.proxy.terminate()
        expect(self.page.locator("#banner")).to_contain_text("cannot be reached", timeout=30_000)
        self.assertEqual(self.page.locator("#month").inner_text(), cost)
        self.space.proxy(self.simulator.url, admin={"listen": self.proxy.admin.removeprefix("http://")})
        expect(self.page.locator("#banner")).to_be_hidden(timeout=30_000)
        self.assertEqual(self.page.locator("#month").inner_text(), cost)

    def test_an_open_call_is_shown_until_it_ends(self):
        with begin(self.proxy, "research", operation="converse-stream",
                   **{"x-simulate": "frames=400,frame-delay-ms=50"}) as answer:
            self.open()
            expect(self.page.locator("#open-rows th")).to_have_text("research", timeout=15_000)
            expect(self.page.locator("#live")).to_have_text("1")
            answer.read()
        expect(self.page.locator("#none-open")).to_be_visible(timeout=30_000)
        self.assertEqual(self.errors, [])

    def test_the_token_is_asked_for_and_opens_the_page(self):
        self.proxy.terminate()
        self.proxy = self.space.proxy(self.simulator.url, admin={"token": "a-token-of-the-test"})
        self.page.goto(self.proxy.admin + "/")
        expect(self.page.locator("#login")).to_be_visible(timeout=30_000)
        for token, banner in (("wrong", True), ("a-token-of-the-test", False)):
            self.page.fill("#token", token)
            self.page.keyboard.press("Enter")
            expect(self.page.locator("#banner")).to_be_visible(visible=banner, timeout=30_000)
        expect(self.page.locator("#updated")).to_contain_text("Updated")

    def log_in(self, person):
        """A listener with a login, and the page that a person sees after the provider's."""
        login = provider.Provider({
            "boss": {"groups": ["bosses"], "name": "Bea <i>Boss</i>"},
            "lead": {"groups": ["leads"], "team": "research"}})
        self.addCleanup(login.server.server_close)
        self.proxy.terminate()
        self.proxy = self.space.proxy(
            self.simulator.url, admin={"token": "a-token-of-the-test"},
            admin__login={"issuer": login.issuer, "client_id": login.CLIENT, "client_secret": login.SECRET,
                          "tenant_claim": "team"},
            admin__login__roles={"bosses": "admin", "leads": "team-lead"})
        self.page.goto(self.proxy.admin + "/")
        expect(self.page).to_have_title("")
        expect(self.page.locator("h1")).to_have_text("Company login")
        self.page.get_by_role("link", name=person, exact=True).click()
        expect(self.page.locator("#updated")).to_contain_text("Updated", timeout=30_000)
        self.assertEqual(self.page.url, self.proxy.admin + "/")

    def test_a_person_logs_in_at_the_provider_and_lands_on_the_page(self):
        self.log_in("boss")
        expect(self.page.locator("#person")).to_have_text("Bea <i>Boss</i> (admin)")
        self.assertEqual(self.page.locator("#person i").count(), 0)
        call(self.proxy, "research")
        expect(self.page.locator("#rows th")).to_have_text("research", timeout=30_000)
        wide = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        self.assertLessEqual(*wide)
        self.assertEqual(self.page.evaluate("document.cookie"), "", "no script reads the session")
        self.assertEqual(self.errors, [])
        self.page.click("#logout")
        expect(self.page.locator("h1")).to_have_text("Logged out")
        self.page.goto(self.proxy.admin + "/")
        expect(self.page.locator("h1")).to_have_text("Company login")
        # A token still opens the page, for when the provider is away.
        self.page.goto(self.proxy.admin + "/?token")
        self.page.fill("#token", "a-token-of-the-test")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#person")).to_have_text("token:admin (admin)", timeout=30_000)
        expect(self.page.locator("#logout")).to_be_hidden()

    def test_a_team_leads_page_has_the_team_and_no_metrics(self):
        self.log_in("lead")
        expect(self.page.locator("#person")).to_have_text("lead (team-lead of research)")
        call(self.proxy, "research")
        call(self.proxy, "planted")
        expect(self.page.locator("#rows th")).to_have_text("research", timeout=30_000)
        expect(self.page.locator("#health")).to_contain_text("unknown")
        expect(self.page.locator("#banner")).to_be_hidden()

    def test_an_ended_session_leads_to_the_login(self):
        self.log_in("boss")
        self.page.context.clear_cookies()
        expect(self.page.locator("h1")).to_have_text("Company login", timeout=30_000)

    def test_the_keyboard_reaches_everything(self):
        self.open()
        self.page.keyboard.press("Tab")
        expect(self.page.locator(".skip")).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#main")).to_be_focused()
        reached = []
        for _ in range(12):
            self.page.keyboard.press("Tab")
            reached.append(self.page.evaluate("document.activeElement.id || document.activeElement.className"))
        stops = [place for place in reached if place in ("filter", "sort", "call")]
        self.assertEqual(stops[:3], ["filter", "sort", "call"], "in the order they are read")
        outline = self.page.locator("#call").evaluate("e => { e.focus(); return getComputedStyle(e).outlineStyle }")
        self.assertNotEqual(outline, "none")

    def test_both_colour_schemes_can_be_read(self):
        self.open()
        grounds = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            for place in ("body", "h2", "#today", "dt"):
                ink, ground = self.page.locator(place).first.evaluate("""e => {
                    const ink = getComputedStyle(e).color;
                    const clear = (c) => c === "rgba(0, 0, 0, 0)" || c === "transparent";
                    while (clear(getComputedStyle(e).backgroundColor) && e.parentElement) e = e.parentElement;
                    return [ink, getComputedStyle(e).backgroundColor] }""")
                self.assertGreaterEqual(contrast(ink, ground), 4.5, f"{place} in {scheme}: {ink} on {ground}")
            grounds.append(ground)
        self.assertNotEqual(*grounds)

    def test_a_page_of_many_teams_stays_bounded_and_is_filtered(self):
        def many(route):
            answer = json.loads(route.fetch().text())
            row = answer["total"]
            answer["rows"] = [dict(row, tenant=f"<i>t{n}</i>", application="a") for n in range(1000)]
            route.fulfill(json=answer)
        self.page.route("**/api/v1/report*", many)
        self.open()
        expect(self.page.locator("#rows tr")).to_have_count(50)
        expect(self.page.locator("#place")).to_have_text("1 to 50 of 1000")
        self.page.fill("#filter", "t777<")
        expect(self.page.locator("#rows th")).to_have_text("<i>t777</i>")
        self.assertEqual(self.page.locator("#rows i").count(), 0)


if __name__ == "__main__":
    import run

    sys.argv[1:] = ["page"]
    sys.exit(run.main())
