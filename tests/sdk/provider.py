"""A small OIDC provider for tests: discovery, keys, a login page, codes that work once, PKCE.

It checks what a real one checks, and can be told to answer wrongly. Its RSA key is openssl's; the
signatures are made here.
"""

import base64
import hashlib
import html
import http.server
import json
import subprocess
import threading
import time
import urllib.parse

# ASN.1 of a SHA-256 digest in PKCS #1 v1.5 (RFC 8017 section 9.2).
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """An RSA key that signs RS256."""

    def __init__(self, kid):
        pem = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True).stdout
        text = subprocess.run(["openssl", "rsa", "-noout", "-text"], input=pem, capture_output=True, check=True)
        parts = text.stdout.decode()
        self.kid = kid
        self.n, self.d = (
            int(parts.split(name + ":\n")[1].split(after)[0].replace(":", "").replace("\n", "").replace(" ", ""), 16)
            for name, after in (("modulus", "publicExponent"), ("privateExponent", "prime1"))
        )

    def jwk(self):
        return {"kty": "RSA", "kid": self.kid, "alg": "RS256", "use": "sig",
                "n": b64(self.n.to_bytes(256, "big")), "e": "AQAB"}

    def sign(self, claims, algorithm="RS256"):
        head = {"alg": algorithm, "typ": "JWT", "kid": self.kid}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
        digest = SHA256_PREFIX + hashlib.sha256(signed.encode()).digest()
        padded = b"\x00\x01" + b"\xff" * (253 - len(digest)) + b"\x00" + digest
        signature = pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(256, "big")
        return f"{signed}.{b64(signature)}"


class Provider:
    """Serves until it is closed; `open` again serves at the same address."""

    CLIENT, SECRET = "bedrock-meter-admin", "s3cret+of/the client".replace(" ", "-")

    def __init__(self, people, public=False, methods=None):
        self.people, self.public, self.methods = people, public, methods
        self.key = Key("k1")
        self.codes, self.asked = {}, []
        # Changes the claims of the next ID tokens.
        self.spoil = {}
        self.port = 0
        self.open()

    def open(self):
        provider = self

        class Handler(Answers):
            pass

        Handler.provider = provider
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.issuer = f"http://127.0.0.1:{self.port}/realms/company"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def token(self, person, seconds=600, key=None, **claims):
        """A signed token of a person."""
        standard = {"iss": self.issuer, "aud": self.CLIENT, "sub": person, "exp": int(time.time()) + seconds}
        whole = {**standard, **self.people[person], **claims}
        return (key or self.key).sign({name: value for name, value in whole.items() if value is not None})

    def code(self, person, question):
        """A code for that person, bound to what was asked."""
        code = f"code-{len(self.codes)}+{person}"
        self.codes[code] = (person, question)
        return code


class Answers(http.server.BaseHTTPRequestHandler):
    provider = None

    def do_GET(self):
        at = urllib.parse.urlsplit(self.path)
        question = dict(urllib.parse.parse_qsl(at.query))
        match at.path:
            case "/realms/company/.well-known/openid-configuration":
                self.discovery()
            case "/realms/company/keys":
                self.json(200, {"keys": [self.provider.key.jwk()]})
            case "/realms/company/auth":
                self.login(question)
            case _:
                self.json(404, {})

    def discovery(self):
        issuer = self.provider.issuer
        document = {"issuer": issuer, "authorization_endpoint": f"{issuer}/auth?tenant=1",
                    "token_endpoint": f"{issuer}/token", "jwks_uri": f"{issuer}/keys"}
        if self.provider.methods:
            document["token_endpoint_auth_methods_supported"] = self.provider.methods
        self.json(200, document)

    def login(self, question):
        """Who a browser says it is; without a word a page with everybody."""
        expected = {"response_type": "code", "client_id": self.provider.CLIENT, "code_challenge_method": "S256"}
        if not expected.items() <= question.items() or "openid" not in question["scope"].split():
            return self.json(400, {"error": "invalid_request"})
        person = question.pop("person", None)
        if person is None:
            links = "".join(f'<p><a href="{html.escape(self.path)}&amp;person={name}">{name}</a></p>'
                            for name in self.provider.people)
            return self.answer(200, "text/html", (f'<link rel="icon" href="data:,"><h1>Company login</h1>{links}').encode())
        back = {"state": question["state"], "code": self.provider.code(person, question)}
        self.send_response(302)
        self.send_header("location", question["redirect_uri"] + "?" + urllib.parse.urlencode(back))
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = dict(urllib.parse.parse_qsl(body, strict_parsing=True))
        self.provider.asked.append(form)
        person, question = self.provider.codes.pop(form.get("code"), (None, None))
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if not self.is_client(form):
            return self.json(401, {"error": "invalid_client"})
        if (person is None or challenge != question["code_challenge"]
                or form["redirect_uri"] != question["redirect_uri"] or form["grant_type"] != "authorization_code"):
            return self.json(400, {"error": "invalid_grant"})
        claims = {"nonce": question["nonce"], **self.provider.spoil}
        self.json(200, {"token_type": "Bearer", "access_token": "opaque",
                        "id_token": self.provider.token(person, **claims)})

    def is_client(self, form):
        provider = self.provider
        if provider.public:
            return form.get("client_id") == provider.CLIENT and "authorization" not in self.headers
        if provider.methods == ["client_secret_post"]:
            return (form.get("client_id"), form.get("client_secret")) == (provider.CLIENT, provider.SECRET)
        shown = self.headers.get("authorization", "").removeprefix("Basic ")
        pair = base64.b64decode(shown).decode().split(":")
        return [urllib.parse.unquote_plus(part) for part in pair] == [provider.CLIENT, provider.SECRET]

    def json(self, status, value):
        self.answer(status, "application/json", json.dumps(value).encode())

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
