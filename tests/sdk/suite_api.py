"""The admin API against its own OpenAPI document: every path is served, every answer fits."""

import http.client
import json
import unittest
import urllib.error
import urllib.request

import harness
import jsonschema
from jsonschema import Draft202012Validator

BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).encode()


class Asking(unittest.TestCase):
    """Asks the admin listener of `self.proxy`."""

    def ask(self, path, method="GET", body=None, token=None, content_type="application/json"):
        """Status and body."""
        headers = {"content-type": content_type} if body is not None else {}
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.proxy.admin + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def fits(self, path, status, body, method="get"):
        """Holds a JSON body against what the document says of that path and status."""
        answers = self.document["paths"][path][method]["responses"]
        self.assertIn(str(status), answers, f"{path} answered {status}: {body[:200]}")
        schema = answers[str(status)]["content"]["application/json"]["schema"]
        whole = {**schema, "components": self.document["components"]}
        jsonschema.validate(json.loads(body), whole, cls=Draft202012Validator)


class Api(Asking):
    def setUp(self):
        self.space = self.enterContext(harness.Workspace())
        self.simulator = self.space.simulator()
        self.proxy = self.space.proxy(self.simulator.url)
        self.document = json.loads(self.ask("/api/v1/openapi.json")[1])

    def call(self, operation="converse", **headers):
        """One call, its head read and its body not yet."""
        connection = http.client.HTTPConnection(self.proxy.url.removeprefix("http://"), timeout=30)
        self.addCleanup(connection.close)
        path = f"/tenant/research/application/chat/model/{harness.MODEL}/{operation}"
        connection.request("POST", path, BODY, {"content-type": "application/json", **headers})
        return connection.getresponse()

    def test_the_document_is_openapi_with_valid_schemas(self):
        self.assertTrue(self.document["openapi"].startswith("3.1."))
        for name, schema in self.document["components"]["schemas"].items():
            with self.subTest(name):
                Draft202012Validator.check_schema(schema)
        paths = self.document["paths"].values()
        operations = [operation["operationId"] for path in paths for operation in path.values()]
        self.assertEqual(len(operations), len(set(operations)))

    def test_every_answer_fits_the_document(self):
        answer = self.call()
        answer.read()
        call_id = answer.headers["x-bedrock-meter-call-id"]
        self.proxy.wait_for_entries(1, 30)
        questions = {
            "/api/v1/report": ["", "?by=tenant,day", "?by=moon", "?from=yesterday", "?from=2026-01-01&to=2026-02-01"],
            "/api/v1/calls/{call_id}": [call_id, "x", "0190a5a0-0000-7000-8000-000000000000"],
            "/api/v1/live": [""],
            "/api/v1/budgets": [""],
            "/api/v1/keys": ["", "?tenant=research", "?tenant=a%20b", "?owner=ann"],
            "/api/v1/tenants": [""],
            "/api/v1/audit": ["", "?last=1", "?last=many"],
            "/api/v1/session": [""],
            "/api/v1/openapi.json": [""],
            "/healthz": [""],
            "/readyz": [""],
        }
        read = {path for path, methods in self.document["paths"].items() if "get" in methods}
        self.assertEqual({*questions, "/metrics", "/api/v1/tenants/{name}"}, read)
        for path, endings in questions.items():
            for ending in endings:
                with self.subTest(path=path, ending=ending):
                    self.fits(path, *self.ask(path.replace("{call_id}", "") + ending))
        self.assertEqual(self.ask("/metrics")[0], 200)

    def change(self, path, method, body, status, *, of=None, **options):
        """Asks for a change, holds the answer against the document; what it says."""
        answered, answer = self.ask(path, method, body, **options)
        self.assertEqual(answered, status, answer[:300])
        self.fits(of or path, answered, answer, method.lower())
        return json.loads(answer)

    def calls_with(self, token):
        """The status of a call with that bearer token, right now."""
        connection = http.client.HTTPConnection(self.proxy.url.removeprefix("http://"), timeout=30)
        self.addCleanup(connection.close)
        headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        connection.request("POST", f"/model/{harness.MODEL}/converse", BODY, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def test_keys_and_tenants_are_changed_and_in_force_at_once(self):
        keys, tenants, one = "/api/v1/keys", "/api/v1/tenants", "/api/v1/tenants/{name}"
        described = {"owner": "Ann", "cost_centre": "4711", "policy": {"models": ["anthropic.*"]}}
        done = self.change(f"{tenants}/team%2Feu", "PUT", described, 200, of=one)
        self.assertEqual(done["act"], "tenant_created")
        done = self.change(f"{tenants}/team%2Feu", "PUT", described, 200, of=one)
        self.assertIsNone(done["act"])
        made = self.change(keys, "POST", {"tenant": "team/eu", "kind": "token", "name": "ci"}, 201)
        self.assertEqual(made["endpoint_url"].split(":")[0], "http")
        # No wait: this process knows what it was just told.
        self.assertEqual(self.calls_with(made["token"]), 200)
        for act, status in ("suspend", 403), ("resume", 200):
            path = f"{tenants}/{{name}}/{act}"
            self.change(f"{tenants}/team%2Feu/{act}", "POST", {}, 200, of=path)
            self.assertEqual(self.calls_with(made["token"]), status)
        self.change(f"{tenants}/team%2Feu/rename", "POST", {"name": "team"}, 200, of=f"{tenants}/{{name}}/rename")
        status, body = self.ask(f"{tenants}/team")
        self.fits(one, status, body)
        self.assertEqual(json.loads(body)["described"], described)
        key = f"{keys}/{made['id']}"
        newer = self.change(f"{key}/rotate", "POST", {"until": "2099-01-01"}, 201, of=f"{keys}/{{id}}/rotate")
        self.assertEqual([self.calls_with(t) for t in (made["token"], newer["token"])], [200, 200])
        policy = {"models": ["amazon.*"]}
        self.change(f"{keys}/{newer['id']}/policy", "PUT", policy, 200, of=f"{keys}/{{id}}/policy")
        self.assertEqual(self.calls_with(newer["token"]), 403)
        self.change(f"{keys}/{newer['id']}/expire", "POST", {"at": "2026-01-01"}, 200, of=f"{keys}/{{id}}/expire")
        for changed in True, False:
            done = self.change(f"{key}/revoke", "POST", {}, 200, of=f"{keys}/{{id}}/revoke")
            self.assertEqual(done, {"changed": changed})
        self.assertEqual(self.calls_with(made["token"]), 403)
        listed = json.loads(self.ask(keys)[1])
        self.assertEqual({key["state"] for key in listed}, {"revoked", "expired"})
        audit = json.loads(self.ask("/api/v1/audit")[1])
        self.assertEqual({act["actor"] for act in audit}, {"loopback"})
        acts = [act["act"] for act in reversed(audit)]
        self.assertEqual(acts, ["tenant_created", "key_created", "tenant_suspended", "tenant_resumed",
                                "tenant_renamed", "key_rotated", "key_changed", "key_expires", "key_revoked"])
        everything = self.ask(keys)[1] + self.ask("/api/v1/audit")[1] + self.proxy.text().encode()
        for secret in made["token"], newer["token"]:
            self.assertNotIn(secret.split("_", 1)[1].encode(), everything)

    def test_what_may_not_be_changed_is_a_json_error_with_its_status(self):
        keys = "/api/v1/keys"
        form = "application/x-www-form-urlencoded"
        key = "/api/v1/keys/BMAKAAAAAAAAAAAAAAAA"
        for path, of, method, body, status, kind in [
            (keys, keys, "POST", {"tenant": "a"}, 415, "text/plain"),
            (keys, keys, "POST", b"tenant=a", 415, form),
            (keys, keys, "POST", b"{", 400, None),
            (keys, keys, "POST", b" " * 65537, 413, None),
            (keys, keys, "POST", {"tenant": "a", "owner": "b"}, 400, None),
            (key + "/revoke", keys + "/{id}/revoke", "POST", {}, 404, None),
            (key + "/rotate", keys + "/{id}/rotate", "POST", {}, 404, None),
            ("/api/v1/tenants/nobody/suspend", "/api/v1/tenants/{name}/suspend", "POST", {}, 404, None),
        ]:
            with self.subTest(path=path, status=status):
                options = {"content_type": kind} if kind else {}
                self.change(path, method, body, status, of=of, **options)
        for path, method in ("/api/v1/audit", "POST"), (keys, "DELETE"), (key + "/revoke", "GET"):
            status, body = self.ask(path, method, {} if method == "POST" else None)
            self.assertEqual((status, list(json.loads(body))), (405, ["error"]), path)
        # A page of another site would have to ask first, and is allowed nothing.
        self.assertEqual(self.ask(keys, "OPTIONS")[0], 405)
        self.assertEqual(json.loads(self.ask("/api/v1/audit")[1]), [])

    def test_an_open_call_is_listed_until_it_ends(self):
        answer = self.call("converse-stream", **{"x-simulate": "frames=100,frame-delay-ms=50"})
        body = self.ask("/api/v1/live")[1]
        self.fits("/api/v1/live", 200, body)
        live = json.loads(body)
        self.assertEqual(live["open"], 1)
        [call] = live["calls"]
        seen = [call[name] for name in ("call_id", "tenant", "application", "model", "operation")]
        call_id = answer.headers["x-bedrock-meter-call-id"]
        self.assertEqual(seen, [call_id, "research", "chat", harness.MODEL, "ConverseStream"])
        answer.read()
        self.proxy.wait_for_entries(1, 30)
        self.assertEqual(json.loads(self.ask("/api/v1/live")[1]), {"open": 0, "calls": []})


# Stands in every token, and may stand nowhere else.
CANARY = "s3cret-of-a-login"
TOKENS = {"boss": "admin", "books": "finance", "lead": "team-lead", "guest": "viewer"}


class Roles(Asking):
    """Each login against every path, with the calls and keys of two planted tenants."""

    def setUp(self):
        self.space = self.enterContext(harness.Workspace())
        self.simulator = self.space.simulator()
        tokens = {f"admin__tokens__{name}": {"token": f"{name}-{CANARY}", "role": role}
                  for name, role in TOKENS.items()}
        tokens["admin__tokens__lead"]["tenant"] = "research"
        self.proxy = self.space.proxy(self.simulator.url, **tokens)
        self.document = json.loads(self.ask("/api/v1/openapi.json")[1])
        self.keys = {tenant: self.proxy.issue(tenant)[0] for tenant in ("research", "planted")}

    def ask_as(self, name, path, method="GET", body=None):
        return self.ask(path, method, body, token=f"{name}-{CANARY}")

    def tenant_call(self, tenant):
        connection = http.client.HTTPConnection(self.proxy.url.removeprefix("http://"), timeout=30)
        path = f"/tenant/{tenant}/application/{tenant}-app/model/{harness.MODEL}/converse"
        headers = {"content-type": "application/json", "x-bedrock-meter-user": "u-1", "x-bedrock-meter-session": "s-1"}
        connection.request("POST", path, BODY, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.headers["x-bedrock-meter-call-id"]

    def test_each_role_reaches_what_the_table_says(self):
        call_id = self.tenant_call("research")
        self.proxy.wait_for_entries(1, 30)
        key = f"/api/v1/keys/{self.keys['research']}"
        asked = {
            "report": ("/api/v1/report", "GET", None), "call": (f"/api/v1/calls/{call_id}", "GET", None),
            "live": ("/api/v1/live", "GET", None), "budgets": ("/api/v1/budgets", "GET", None), "metrics": ("/metrics", "GET", None),
            "keys": ("/api/v1/keys", "GET", None), "tenants": ("/api/v1/tenants", "GET", None),
            "issue keys": ("/api/v1/keys", "POST", {"tenant": "research"}),
            "change keys": (key + "/expire", "POST", {"at": "2099-01-01"}),
            "change tenants": ("/api/v1/tenants/research/suspend", "POST", {}),
            "audit": ("/api/v1/audit", "GET", None),
        }
        page = (harness.ROOT / "docs/admin.md").read_text().split("| right |")[1].split("\n\n")[0]
        rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in page.splitlines()[2:]]
        self.assertEqual({row[0] for row in rows}, set(asked))
        for right, *reaches in rows:
            for name, reach in zip(("boss", "books", "lead", "guest"), reaches, strict=True):
                with self.subTest(right=right, role=TOKENS[name]):
                    status, body = self.ask_as(name, *asked[right])
                    self.assertIn(status, (403,) if reach == "-" else (200, 201), body[:200])
        for path in ("/api/v1/report", "/api/v1/keys", "/metrics", "/nowhere"):
            self.assertEqual(self.ask(path)[0], 401)
            self.assertEqual(self.ask(path, token="wrong")[0], 401)
        audit = json.loads(self.ask_as("boss", "/api/v1/audit")[1])
        actors = {act["actor"] for act in audit if not act["actor"].startswith("cli:")}
        self.assertEqual(actors, {"token:boss", "token:lead"})
        self.assertNotIn(CANARY, self.proxy.text())

    def test_a_team_lead_never_meets_another_tenant(self):
        own, other = (self.tenant_call(tenant) for tenant in ("research", "planted"))
        self.proxy.wait_for_entries(2, 30)
        seen = b""
        for path in ["/api/v1/report", *(f"/api/v1/report?by={by}" for by in
                     ("tenant", "application", "model", "operation", "region", "tier", "outcome", "day")),
                     f"/api/v1/calls/{own}", f"/api/v1/calls/{other}", "/api/v1/live", "/api/v1/budgets", "/api/v1/keys",
                     "/api/v1/keys?tenant=research", "/api/v1/tenants", "/api/v1/tenants/research"]:
            status, body = self.ask_as("lead", path)
            self.assertIn(status, (200, 404), path)
            seen += body
        self.assertNotIn(b"planted", seen)
        self.assertNotIn(self.keys["planted"].encode(), seen)
        self.assertEqual(self.ask_as("lead", f"/api/v1/calls/{other}")[0], 404)
        report = json.loads(self.ask_as("lead", "/api/v1/report")[1])
        self.assertEqual(report["total"]["calls"], 1)
        self.assertEqual(json.loads(self.ask_as("books", "/api/v1/report")[1])["total"]["calls"], 2)
        for path, method, body, expected in [
            ("/api/v1/tenants/planted", "GET", None, 404),
            ("/api/v1/keys?tenant=planted", "GET", None, 403),
            (f"/api/v1/keys/{self.keys['planted']}/revoke", "POST", {}, 404),
            (f"/api/v1/keys/{self.keys['planted']}/rotate", "POST", {}, 404),
            ("/api/v1/keys", "POST", {"tenant": "planted"}, 403),
            ("/api/v1/keys", "POST", {"tenant": "research", "policy": {"resources": ["s3://planted/*"]}}, 403),
        ]:
            self.assertEqual(self.ask_as("lead", path, method, body)[0], expected, path)

    def test_users_and_sessions_are_for_admins_and_their_team_lead(self):
        call_id = self.tenant_call("research")
        self.proxy.wait_for_entries(1, 30)
        for name, shown in (("boss", True), ("lead", True), ("books", False), ("guest", False)):
            caller = json.loads(self.ask_as(name, f"/api/v1/calls/{call_id}")[1])["caller"]
            self.assertEqual([caller[k] is not None for k in ("user", "session")], [shown] * 2, name)

    def test_commands_print_the_same_through_a_server(self):
        def remote(*arguments, name="boss"):
            command = [*arguments, "--server", self.proxy.admin, "--server-token", f"{name}-{CANARY}"]
            return harness.run(*command)
        for words in (["keys", "list"], ["keys", "list", "--format", "json"], ["keys", "audit"],
                      ["tenants", "list"], ["tenants", "list", "--format", "json"]):
            self.assertEqual(remote(*words), (0, self.proxy.command(*words)), words)
        code, made = remote("keys", "create", "--tenant", "research", "--name", "x y", "--output", "json")
        made = json.loads(made)
        self.assertEqual((code, made["endpoint_url"]), (0, json.loads(self.proxy.command(
            "keys", "create", "--tenant", "research", "--output", "json"))["endpoint_url"]))
        self.assertEqual(remote("keys", "revoke", made["id"]), (0, f"{made['id']} revoked\n"))
        self.assertEqual(remote("keys", "revoke", made["id"]), (0, f"{made['id']} was revoked before\n"))
        file = self.space.path / "teams.toml"
        file.write_text('[tenants.new]\nowner = "Ann"\n[keys.ci]\ntenant = "new"\npolicy = { models = ["us.*"] }\n')
        code, said = remote("keys", "apply", file, "--output", "env")
        self.assertEqual(code, 0, said)
        self.assertIn("AWS_SECRET_ACCESS_KEY=", said)
        self.assertEqual(remote("keys", "apply", file), (0, "nothing to do: everything is as the files say\n"))
        self.assertEqual(self.proxy.command("keys", "apply", file), "")
        for words in (["tenants", "rename", "new", "newer"], ["tenants", "suspend", "newer"], ["tenants", "resume", "newer"],
                      ["keys", "expire", made["id"], "--at", "2099-01-01"], ["keys", "rotate", self.keys["research"]]):
            self.assertEqual(remote(*words)[0], 0, words)
        code, said = remote("keys", "list", name="wrong")
        self.assertEqual((code, "wants a token" in said, CANARY in said), (1, True, False), said)
        code, said = remote("keys", "list", name="guest")
        self.assertEqual((code, "the role viewer may not" in said), (1, True), said)
        code, said = remote("tenants", "suspend", "nobody")
        self.assertEqual((code, "there is no tenant nobody" in said), (1, True), said)
        code, said = harness.run("keys", "list", "--server", "http://127.0.0.1:1")
        self.assertEqual(code, 1, said)


if __name__ == "__main__":
    import sys

    import run

    sys.argv[1:] = ["api"]
    sys.exit(run.main())
