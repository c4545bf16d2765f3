"""People log in at the admin listener: a browser's way through a provider, and its tokens."""

import concurrent.futures
import http.client
import json
import socket
import time
import unittest
import urllib.parse

import harness
import jsonschema
import provider

PEOPLE = {
    "boss": {"groups": ["meter-admins", "everybody"], "name": "Bea Boss"},
    "books": {"groups": ["controlling"], "name": "Bob <b>Books</b>"},
    "lead": {"groups": ["leads"], "team": "research", "email": "lead@example.com"},
    "guest": {"groups": ["everybody"]},
    "stranger": {"groups": ["others"]},
    "teamless": {"groups": ["leads"]},
}
ROLES = {"meter-admins": "admin", "controlling": "finance", "leads": "team-lead", "everybody": "viewer"}
TOKEN = "a-token-of-a-machine"


class Browser:
    """Keeps cookies by name, for one host; follows nothing by itself."""

    def __init__(self, base):
        self.base, self.cookies, self.set = base, {}, {}

    def ask(self, path, method="GET", body=None, **headers):
        """Status, headers, body."""
        at = urllib.parse.urlsplit(urllib.parse.urljoin(self.base, path))
        connection = http.client.HTTPConnection(at.netloc, timeout=30)
        if self.cookies and self.base.endswith(at.netloc):
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            body = json.dumps(body)
            headers = {"content-type": "application/json", **headers}
        connection.request(method, f"{at.path}?{at.query}" if at.query else at.path, body, headers)
        answer = connection.getresponse()
        for line in answer.headers.get_all("set-cookie", []):
            name, value = line.split(";")[0].split("=", 1)
            self.set[name] = line
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        text = answer.read()
        connection.close()
        return answer.status, answer.headers, text

    def begin(self, person):
        """To the provider and through its page: the URL that it sends the browser back to."""
        status, headers, body = self.ask("/login")
        assert status == 303, (status, body)
        status, headers, body = self.ask(headers["location"] + f"&person={person}")
        assert status == 302, (status, body)
        return headers["location"]

    def login(self, person):
        """Status and body of the answer at the end of a login."""
        status, headers, body = self.ask(self.begin(person))
        return status, headers.get("location"), body.decode()


class Desk(unittest.TestCase):
    """A proxy with a login; `options` change it."""

    public, methods, level = False, None, "info"

    def start(self, **options):
        self.space = self.enterContext(harness.Workspace())
        self.provider = provider.Provider(PEOPLE, self.public, self.methods)
        self.addCleanup(lambda: self.provider.server.server_close())
        login = {"issuer": self.provider.issuer, "client_id": self.provider.CLIENT, "tenant_claim": "team", **options}
        if not self.public:
            login["client_secret"] = self.provider.SECRET
        self.simulator = self.space.simulator()
        self.login_tables = {
            "admin": {} if self.public else {"token": TOKEN}, "log": {"level": self.level}, "admin__login": login, "admin__login__roles": ROLES}
        self.proxy = self.space.proxy(self.simulator.url, **self.login_tables)

    def browser(self, person=None):
        browser = Browser(self.proxy.admin)
        if person:
            status, location, body = browser.login(person)
            self.assertEqual((status, location), (303, "/"), body)
        return browser

    def refused(self, answer, status, words, reason):
        """A login that ended on a page that says why, and in the log."""
        self.assertEqual(answer[0], status, answer)
        self.assertIn(words, answer[2])
        self.logged(f'reason="{reason}"')

    def logged(self, words):
        """Waits for the log, which a thread reads, to have these words."""
        deadline = time.monotonic() + 30
        while words not in self.proxy.text():
            self.assertLess(time.monotonic(), deadline, words)
            time.sleep(0.01)

    def token_login(self, token):
        """Status and body of the question who that bearer token is."""
        status, _, body = Browser(self.proxy.admin).ask("/api/v1/session", authorization=f"Bearer {token}")
        return status, json.loads(body)


class Login(Desk):
    def setUp(self):
        self.start()

    def who(self, browser):
        status, _, body = browser.ask("/api/v1/session")
        self.assertEqual(status, 200, body)
        self.fits("Session", body)
        return json.loads(body)

    def fits(self, schema, body):
        """Holds a body against the API's own description."""
        document = json.loads(Browser(self.proxy.admin).ask("/api/v1/openapi.json")[2])
        whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
        jsonschema.validate(json.loads(body), whole, cls=jsonschema.Draft202012Validator)

    def test_each_person_is_let_in_with_the_role_of_the_group(self):
        self.proxy.issue("research")
        self.proxy.issue("planted")
        for person, role, name, tenant in [
            ("boss", "admin", "Bea Boss", None), ("books", "finance", "Bob <b>Books</b>", None),
            ("lead", "team-lead", "lead@example.com", "research"), ("guest", "viewer", "guest", None),
        ]:
            with self.subTest(person):
                browser = self.browser(person)
                self.assertEqual(self.who(browser), {"actor": f"oidc:{person}", "name": name, "role": role,
                                                     "tenant": tenant, "logout": "/logout"})
                self.assertEqual(browser.ask("/")[0], 200)
                keys, audit = (browser.ask(f"/api/v1/{path}")[0] for path in ("keys", "audit"))
                self.assertEqual(keys, 200 if role in ("admin", "team-lead") else 403)
                self.assertEqual(audit, 200 if role == "admin" else 403)
                self.assertEqual(browser.ask("/metrics")[0], 403 if role == "team-lead" else 200)
        self.assertEqual(self.provider.codes, {}, "every code was exchanged")
        metrics = self.browser("boss").ask("/metrics")[2].decode()
        self.assertIn('bedrock_meter_admin_logins_total{outcome="let_in"} 5', metrics)

    def test_a_team_lead_meets_no_other_tenant_and_the_audit_log_names_people(self):
        self.proxy.issue("research")
        self.proxy.issue("planted")
        lead, own = self.browser("lead"), {"origin": self.proxy.admin}
        self.assertNotIn(b"planted", b"".join(lead.ask(f"/api/v1/{path}")[2] for path in ("keys", "tenants", "report")))
        self.assertEqual(lead.ask("/api/v1/keys?tenant=planted")[0], 403)
        self.assertEqual(lead.ask("/api/v1/keys", "POST", {"tenant": "planted"}, **own)[0], 403)
        self.assertEqual(lead.ask("/api/v1/keys", "POST", {"tenant": "research"}, **own)[0], 201)
        boss = self.browser("boss")
        self.assertEqual(boss.ask("/api/v1/tenants/planted/suspend", "POST", {}, **own)[0], 200)
        acts = json.loads(boss.ask("/api/v1/audit")[2])
        self.assertEqual([act["actor"] for act in acts][:2], ["oidc:boss", "oidc:lead"])

    def test_another_site_changes_nothing_with_somebodys_session(self):
        boss = self.browser("boss")
        for headers in ({}, {"origin": "http://evil.example"}, {"origin": "null"},
                        {"origin": self.proxy.admin + ".evil.example"},
                        {"origin": "http://evil.example", "content-type": "text/plain"}):
            with self.subTest(headers):
                self.assertEqual(boss.ask("/api/v1/keys", "POST", {"tenant": "x"}, **headers)[0], 403)
        self.assertEqual(json.loads(boss.ask("/api/v1/keys")[2]), [])
        cookie = boss.set["bedrock-meter-session"]
        for guard in ("HttpOnly", "SameSite=Lax", "Path=/"):
            self.assertIn(guard, cookie)
        # No page of another site may read an answer, nor ask whether it may send one.
        status, headers, _ = boss.ask("/api/v1/keys", "OPTIONS", origin="http://evil.example")
        self.assertEqual(status, 405)
        self.assertNotIn("access-control-allow-origin", headers)

    def test_an_answer_counts_once_and_in_the_browser_that_asked(self):
        browser = self.browser()
        back = browser.begin("boss")
        status, _, body = self.browser().ask(back)
        self.refused((status, None, body.decode()), 400, "not the answer to a login", "not_begun")
        ticket = dict(browser.cookies)
        for query in ("", "?state=x&code=y", back.split("?")[1].join(["?", "&state=twice"])):
            status, _, body = Browser(self.proxy.admin).ask("/login/callback" + query)
            self.assertEqual(status, 400, query)
        self.assertEqual(browser.ask(back)[0], 303)
        browser.cookies |= ticket
        status, _, body = browser.ask(back)
        self.refused((status, None, body.decode()), 400, "used already", "replayed")
        # The state of another login of the same browser.
        back = browser.begin("boss")
        browser.begin("boss")
        status, _, body = browser.ask(back)
        self.assertEqual(status, 400, body)
        self.assertEqual(len(self.provider.asked), 1, "the provider was asked for one token only")

    def test_a_token_of_another_login_client_or_issuer_is_no_login(self):
        now = int(time.time())
        for spoil, status, words, reason in [
            ({"nonce": "another"}, 403, "made for another login", "wrong_nonce"),
            ({"nonce": None}, 403, "made for another login", "wrong_nonce"),
            ({"aud": "another"}, 403, "another audience", "wrong_audience"),
            ({"azp": "another"}, 403, "another audience", "wrong_audience"),
            ({"iss": "http://127.0.0.1:1"}, 403, "issuer", "unknown_issuer"),
            ({"exp": now - 3600}, 403, "expired", "expired"),
            ({"exp": None}, 403, "never expires", "no_expiry"),
            ({"sub": "a b"}, 403, "names nobody", "no_user"),
        ]:
            with self.subTest(spoil):
                self.provider.spoil = spoil
                browser = self.browser()
                self.refused(browser.login("boss"), status, words, reason)
                self.assertEqual(browser.ask("/api/v1/session")[0], 401)

    def test_who_has_no_role_or_no_team_is_told_so(self):
        self.refused(self.browser().login("stranger"), 403, "no role here is yours", "no_role")
        self.refused(self.browser().login("teamless"), 403, "which tenant", "no_tenant")
        browser = self.browser()
        back = browser.begin("boss")
        state = urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["state"][0]
        denied = f"/login/callback?error=access_denied%3Cscript%3E&state={state}"
        status, _, body = browser.ask(denied)
        self.refused((status, None, body.decode()), 403, "access_denied", "denied")
        self.assertNotIn("<script", body.decode())

    def test_a_tampered_cookie_is_no_session(self):
        boss = self.browser("boss")
        name = "bedrock-meter-session"
        good = boss.cookies[name]
        payload, tag = good.split(".")
        guest = self.browser("guest").cookies[name]
        forged = provider.b64(json.dumps({"a": "oidc:x", "n": "x", "r": "admin", "e": 2**52}).encode())
        ticket = self.browser()
        ticket.begin("boss")
        for bad in (good[:-1], good[1:], f"{payload}.{guest.split('.')[1]}", f"{forged}.{tag}", forged,
                    f"{forged}.", ticket.cookies["bedrock-meter-login"], ""):
            with self.subTest(bad[:20]):
                boss.cookies[name] = bad
                self.assertEqual(boss.ask("/api/v1/session")[0], 401)
        boss.cookies[name] = good
        self.assertEqual(boss.ask("/api/v1/session")[0], 200)
        # Whoever shows a token is judged by it alone.
        self.assertEqual(boss.ask("/api/v1/session", authorization="Bearer wrong")[0], 401)
        self.assertEqual(boss.ask("/logout")[0], 200)
        self.assertEqual(boss.ask("/api/v1/session")[0], 401)

    def test_who_is_not_logged_in_is_sent_to_the_login(self):
        browser = self.browser()
        status, headers, _ = browser.ask("/")
        self.assertEqual((status, headers["location"]), (303, "/login"))
        for path in ("/api/v1/session", "/api/v1/report", "/metrics", "/nowhere"):
            status, headers, body = browser.ask(path)
            self.assertEqual((status, headers["www-authenticate"]), (401, "Bearer"), path)
            self.assertEqual(json.loads(body)["login"], "/login")
            self.fits("Error", body)
        for path in ("/healthz", "/page.js", "/?token"):
            self.assertEqual(browser.ask(path)[0], 200, path)
        for path in ("/login", "/login/callback", "/logout"):
            self.assertEqual(browser.ask(path, "HEAD")[0], 405, path)
        # The provider sends people back to the listener's address alone.
        port = self.proxy.admin.rsplit(":", 1)[1]
        status, headers, _ = browser.ask("/login", host=f"localhost:{port}")
        self.assertEqual((status, headers["location"]), (303, self.proxy.admin + "/login"))

    def test_programs_log_in_with_the_providers_tokens(self):
        token = self.provider.token
        for person, role in ("boss", "admin"), ("guest", "viewer"):
            status, said = self.token_login(token(person))
            self.assertEqual((status, said["role"], said["logout"]), (200, role, None))
        # A program needs no origin: no browser sends this header by itself.
        asked = Browser(self.proxy.admin).ask("/api/v1/keys", "POST", {"tenant": "x"},
                                              authorization=f"Bearer {token('boss')}")
        self.assertEqual(asked[0], 201)
        boss = Browser(self.proxy.admin).ask("/api/v1/audit", authorization=f"Bearer {token('boss')}")
        self.assertEqual(json.loads(boss[2])[0]["actor"], "oidc:boss")
        lead = f"Bearer {token('lead')}"
        self.assertEqual(Browser(self.proxy.admin).ask("/api/v1/keys?tenant=x", authorization=lead)[0], 403)
        for bad in (token("boss", aud="another"), token("boss", seconds=-3600), token("stranger"), token("teamless"),
                    token("boss", key=provider.Key("k1")), token("boss", key=provider.Key("k2")),
                    token("boss")[:-8] + "AAAAAAAA", token("boss", iss="http://127.0.0.1:1"), "ey.a.b"):
            self.assertEqual(self.token_login(bad)[0], 401)

    def test_a_provider_that_is_away_holds_up_nobody_else(self):
        boss = self.browser("boss")
        waiting = self.browser()
        back = waiting.begin("guest")
        self.provider.close()
        status, _, body = waiting.ask(back)
        self.refused((status, None, body.decode()), 502, "cannot be reached", "provider_unreachable")
        self.assertIn("/?token", body.decode())
        self.assertEqual(boss.ask("/api/v1/session")[0], 200, "a session needs no provider")
        self.assertEqual(self.token_login(self.provider.token("guest"))[0], 200, "its keys are still here")
        for path in ("/metrics", "/api/v1/report", "/api/v1/keys"):
            self.assertEqual(Browser(self.proxy.admin).ask(path, authorization=f"Bearer {TOKEN}")[0], 200)
        # A process that starts now has read nothing of it.
        self.proxy.terminate()
        self.proxy = self.space.proxy(self.simulator.url, **self.login_tables)
        browser = self.browser()
        status, headers, body = browser.ask("/login")
        self.assertEqual((status, headers["content-type"]), (502, "text/html; charset=utf-8"))
        self.assertIn("cannot be reached", body.decode())
        self.assertEqual(Browser(self.proxy.admin).ask("/metrics", authorization=f"Bearer {TOKEN}")[0], 200)
        self.provider.open()
        deadline = time.monotonic() + 30
        while browser.ask("/login")[0] != 303:
            self.assertLess(time.monotonic(), deadline, "the provider is back")
            time.sleep(0.1)
        self.browser("boss")


class Short(Desk):
    def test_a_session_ends(self):
        self.start(session_max="1s")
        boss = self.browser("boss")
        self.assertIn("Max-Age=1;", boss.set["bedrock-meter-session"])
        deadline = time.monotonic() + 30
        while boss.ask("/api/v1/session")[0] != 401:
            self.assertLess(time.monotonic(), deadline, "the cookie is kept, and counts no more")
            time.sleep(0.1)
        self.assertIn("bedrock-meter-session", boss.cookies)

    def test_a_session_outlives_a_restart_but_no_change_of_roles(self):
        self.start()
        guest = self.browser("guest")
        for roles, status in (ROLES, 200), (ROLES | {"others": "viewer"}, 401):
            self.proxy.terminate()
            tables = self.login_tables | {"admin__login__roles": roles}
            tables["admin"] = {"token": TOKEN, "listen": guest.base.removeprefix("http://")}
            self.proxy = self.space.proxy(self.simulator.url, **tables)
            self.assertEqual(guest.ask("/api/v1/session")[0], status)

    def test_over_tls_the_cookies_are_this_hosts_alone(self):
        self.start(external_url="https://meter.example")
        browser = self.browser()
        status, headers, _ = browser.ask("/login")
        self.assertEqual(status, 303)
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["location"]).query)
        self.assertEqual(asked["redirect_uri"], ["https://meter.example/login/callback"])
        self.assertIn("; Secure", browser.set["__Host-bedrock-meter-login"])
        back = browser.ask(headers["location"] + "&person=boss")[1]["location"]
        self.assertEqual(browser.ask(back.replace("https://meter.example", ""))[0], 303)
        self.assertIn("; Secure", browser.set["__Host-bedrock-meter-session"])
        for origin, status in (self.proxy.admin, 403), ("https://meter.example", 201):
            self.assertEqual(browser.ask("/api/v1/keys", "POST", {"tenant": "x"}, origin=origin)[0], status)


class Public(Desk):
    public = True

    def test_a_client_without_a_secret_logs_in_by_pkce(self):
        self.start()
        # No token is configured, and loopback is open to nobody all the same.
        self.assertEqual([self.browser().ask(path)[0] for path in ("/metrics", "/api/v1/keys", "/")], [401, 401, 303])
        boss = self.browser("boss")
        self.assertEqual([boss.ask(path)[0] for path in ("/metrics", "/api/v1/keys", "/")], [200, 200, 200])


class Posted(Desk):
    methods = ["client_secret_post"]

    def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(self):
        self.start()
        self.browser("boss")


class Silent(Desk):
    def test_a_provider_that_never_answers_takes_no_more_than_its_share(self):
        with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
            self.start(issuer=f"http://127.0.0.1:{silent.getsockname()[1]}")
            strange = self.provider.token("boss", iss=f"http://127.0.0.1:{silent.getsockname()[1]}")
            asked = [lambda: self.browser().ask("/login")[0], lambda: self.token_login(strange)[0]]
            with concurrent.futures.ThreadPoolExecutor(80) as crowd:
                statuses = [crowd.submit(ask) for ask in asked * 40]
                answered = Browser(self.proxy.admin).ask("/metrics", authorization=f"Bearer {TOKEN}")
                self.assertEqual(answered[0], 200)
                statuses = [status.result() for status in statuses]
            self.assertEqual(set(statuses[1::2]), {401})
            self.assertEqual(set(statuses[::2]), {502, 503}, "some wait, and no more")


class Traced(Desk):
    level = "trace"

    def test_no_secret_of_a_login_is_logged_at_any_level(self):
        self.start()
        boss = self.browser("boss")
        self.refused(self.browser().login("stranger"), 403, "no role", "no_role")
        self.token_login(self.provider.token("boss"))
        form = self.provider.asked[0]
        secrets = [form["code"], form["code_verifier"], self.provider.SECRET, *boss.cookies.values(),
                   self.provider.token("boss").split(".")[0], TOKEN]
        text = self.proxy.text() + harness.run("check-config", self.proxy.config)[1]
        for secret in secrets:
            self.assertNotIn(secret, text)
        self.logged("oidc:boss")
