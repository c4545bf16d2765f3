"""Makes tokens.json: tokens that another implementation signed, and what is to become of them.

    python3 -m venv /tmp/jwt && /tmp/jwt/bin/pip install pyjwt==2.10.1 cryptography
    /tmp/jwt/bin/python tests/jwt/make.py

The keys are made for one run and forgotten, so that the repository holds no private key. What a
library refuses to make (no signature, an HMAC with a public key) is put together by hand.
"""

import base64
import hashlib
import hmac
import json
import pathlib

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = 1_800_000_000
ISSUER = "https://login.example.com/"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
CLAIMS = {
    "iss": ISSUER,
    "aud": ["bedrock-meter", "other"],
    "sub": "ann",
    "exp": NOW + 3600,
    "nbf": NOW - 60,
    "iat": NOW - 60,
    "https://example.com/team": "search",
    "email": "ann@example.com",
}
POD = {
    "iss": CLUSTER,
    "aud": ["bedrock-meter"],
    "exp": NOW + 3600,
    "iat": NOW - 60,
    "nbf": NOW - 60,
    "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
    "kubernetes.io": {
        "namespace": "search-prod",
        "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
        "pod": {"name": "api-0", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
        "serviceaccount": {"name": "api", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
    },
    "sub": "system:serviceaccount:search-prod:api",
}


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(token):
    """The signature of a token."""
    return base64.urlsafe_b64decode(token.split(".")[2] + "==")


def part(value):
    return encode(json.dumps(value, separators=(",", ":")).encode())


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def der(key):
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public(algorithm, key, **members):
    return {**json.loads(algorithm.to_jwk(key.public_key())), **members}


RSA = rsa.generate_private_key(65537, 2048)
RSA_NEXT = rsa.generate_private_key(65537, 2048)
STRANGER = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
POD_KEY = rsa.generate_private_key(65537, 2048)

RSA_KEY = public(RSAAlgorithm, RSA, kid="rsa-1", use="sig", alg="RS256")
KEYS = [
    RSA_KEY,
    public(RSAAlgorithm, RSA, kid="rsa-any", use="sig"),
    public(ECAlgorithm, P256, kid="p256", use="sig", alg="ES256"),
    public(ECAlgorithm, P384, kid="p384", use="sig", alg="ES384"),
    public(OKPAlgorithm, ED, kid="ed", use="sig", alg="EdDSA"),
    public(RSAAlgorithm, STRANGER, kid="for-encryption", use="enc"),
]
NEXT = public(RSAAlgorithm, RSA_NEXT, kid="rsa-2", use="sig", alg="RS256")


def sign(claims=None, key=RSA, algorithm="RS256", kid="rsa-1", **header):
    headers = {**({"kid": kid} if kid else {}), **header}
    return jwt.encode(claims or CLAIMS, key, algorithm=algorithm, headers=headers)


def without(*names, **others):
    kept = {name: value for name, value in CLAIMS.items() if name not in names}
    return {**kept, **others}


def by_hand(header, claims, signature):
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{encode(signature(signed.encode()))}"


def confused(secret, algorithm="HS256", digest=hashlib.sha256):
    header = {"alg": algorithm, "typ": "JWT", "kid": "rsa-1"}
    return by_hand(header, CLAIMS, lambda signed: hmac.new(secret, signed, digest).digest())


def unsigned(algorithm):
    return by_hand({"alg": algorithm, "typ": "JWT"}, CLAIMS, lambda signed: b"")


def replaced(token, at, value):
    parts = token.split(".")
    parts[at] = value
    return ".".join(parts)


def der_signature(signed):
    return P256.sign(signed, ec.ECDSA(hashes.SHA256()))


def accepted():
    yield "RS256", sign()
    yield "RS384", sign(algorithm="RS384", kid="rsa-any")
    yield "RS512", sign(algorithm="RS512", kid="rsa-any")
    yield "PS256", sign(algorithm="PS256", kid="rsa-any")
    yield "PS384", sign(algorithm="PS384", kid="rsa-any")
    yield "PS512", sign(algorithm="PS512", kid="rsa-any")
    yield "ES256", sign(key=P256, algorithm="ES256", kid="p256")
    yield "ES256 without a kid", sign(key=P256, algorithm="ES256", kid=None)
    yield "ES384", sign(key=P384, algorithm="ES384", kid="p384")
    yield "EdDSA", sign(key=ED, algorithm="EdDSA", kid="ed")
    yield "an access token", sign(typ="at+jwt")
    yield "one audience as a text", sign(without(aud="bedrock-meter"))
    yield "no nbf", sign(without("nbf"))
    yield "expired within the leeway", sign(without(exp=NOW - 59))
    yield "not yet valid within the leeway", sign(without(nbf=NOW + 60))
    yield "fractions of a second", sign(without(exp=NOW + 3600.5))


def refused():
    good = sign()
    yield "alg none", "algorithm_not_allowed", unsigned("none")
    yield "alg None", "algorithm_not_allowed", unsigned("None")
    yield "alg nOnE", "algorithm_not_allowed", unsigned("nOnE")
    yield "alg empty", "algorithm_not_allowed", unsigned("")
    yield "alg none with a signature", "algorithm_not_allowed", replaced(
        good, 0, part({"alg": "none", "kid": "rsa-1"})
    )
    yield "alg in lower case", "algorithm_not_allowed", replaced(
        good, 0, part({"alg": "rs256", "kid": "rsa-1"})
    )
    yield "HS256 with the public key as PEM", "algorithm_not_allowed", confused(pem(RSA))
    yield "HS256 with the public key as stripped PEM", "algorithm_not_allowed", confused(
        pem(RSA).strip()
    )
    yield "HS256 with the public key as DER", "algorithm_not_allowed", confused(der(RSA))
    yield "HS256 with the public key as JWK", "algorithm_not_allowed", confused(
        json.dumps(RSA_KEY).encode()
    )
    yield "HS512 with the public key as PEM", "algorithm_not_allowed", confused(
        pem(RSA), "HS512", hashlib.sha512
    )
    yield "HS256 with an empty secret", "algorithm_not_allowed", confused(b"")
    yield "an HMAC called RS256", "bad_signature", by_hand(
        {"alg": "RS256", "kid": "rsa-1"},
        CLAIMS,
        lambda signed: hmac.new(pem(RSA), signed, hashlib.sha256).digest(),
    )
    yield "a stranger's signature", "bad_signature", sign(key=STRANGER)
    yield "a stranger's key in the header", "bad_signature", sign(
        key=STRANGER, jwk=public(RSAAlgorithm, STRANGER)
    )
    yield "a stranger's key by URL", "bad_signature", sign(
        key=STRANGER, jku="https://attacker.example.com/keys"
    )
    yield "a key for encryption", "unknown_signing_key", sign(key=STRANGER, kid="for-encryption")
    yield "an unknown kid", "unknown_signing_key", sign(key=RSA_NEXT, kid="rsa-2")
    yield "no kid, and two keys fit", "unknown_signing_key", sign(kid=None)
    yield "a kid that is a path", "unknown_signing_key", sign(kid="../../dev/null")
    yield "the kid of a key of another kind", "unknown_signing_key", sign(
        key=P256, algorithm="ES256", kid="rsa-1"
    )
    yield "another algorithm than the key's own", "unknown_signing_key", sign(algorithm="PS256")
    yield "tampered claims", "bad_signature", replaced(
        good, 1, part(without(**{"https://example.com/team": "chat"}))
    )
    yield "a tampered header", "bad_signature", replaced(
        good, 0, part({"alg": "RS256", "kid": "rsa-1", "typ": "x"})
    )
    yield "no signature", "bad_signature", replaced(good, 2, "")
    yield "a cut signature", "bad_signature", replaced(good, 2, encode(decode(good)[:-3]))
    yield "an ES256 signature of zeros", "bad_signature", by_hand(
        {"alg": "ES256", "kid": "p256"}, CLAIMS, lambda signed: bytes(64)
    )
    yield "an ES256 signature in DER", "bad_signature", by_hand(
        {"alg": "ES256", "kid": "p256"}, CLAIMS, der_signature
    )
    yield "a pod's claims with this issuer's key", "unknown_signing_key", sign(POD)
    yield "this issuer's claims with a pod's key", "unknown_signing_key", sign(
        key=POD_KEY, kid="pod"
    )
    yield "another audience", "wrong_audience", sign(without(aud="sts.amazonaws.com"))
    yield "no audience", "wrong_audience", sign(without("aud"))
    yield "expired", "expired", sign(without(exp=NOW - 60))
    yield "not yet valid", "not_yet_valid", sign(without(nbf=NOW + 61))
    yield "without an end", "no_expiry", sign(without("exp"))
    yield "an end that is a text", "malformed", by_hand_signed(without(exp=str(NOW + 3600)))
    yield "a beginning that is a text", "malformed", by_hand_signed(without(nbf="0"))
    yield "another issuer", "unknown_issuer", sign(without(iss="https://evil.example.com/"))
    yield "an issuer without its slash", "unknown_issuer", sign(without(iss=ISSUER[:-1]))
    yield "no issuer", "unknown_issuer", sign(without("iss"))
    yield "a list of issuers", "unknown_issuer", by_hand_signed(without(iss=[ISSUER]))
    yield "an extension that must be understood", "malformed", sign(crit=["exp"])
    yield "no team", "no_tenant_claim", sign(without("https://example.com/team"))
    yield "a team that is no name", "invalid_tenant_claim", sign(
        without(**{"https://example.com/team": "two words"})
    )
    yield "a padded part", "malformed", good + "=="
    yield "encrypted", "malformed", ".".join([part({"alg": "RSA-OAEP"}), "AA", "AA", "AA", "AA"])
    yield "longer than the limit", "too_long", sign(without(pad="a" * 16384))


def by_hand_signed(claims):
    signing = RSAAlgorithm(RSAAlgorithm.SHA256)
    header = {"alg": "RS256", "kid": "rsa-1"}
    return by_hand(header, claims, lambda signed: signing.sign(signed, RSA))


def main():
    fixture = {
        "now": NOW,
        "issuer": ISSUER,
        "jwks": {"keys": KEYS},
        "jwks_rotated": {"keys": [NEXT]},
        "signed_with_the_next_key": sign(key=RSA_NEXT, kid="rsa-2"),
        "accepted": [{"name": name, "token": token} for name, token in accepted()],
        "refused": [
            {"name": name, "reason": reason, "token": token} for name, reason, token in refused()
        ],
        "cluster": {
            "issuer": CLUSTER,
            "jwks": {"keys": [public(RSAAlgorithm, POD_KEY, kid="pod", use="sig", alg="RS256")]},
            "token": sign(POD, key=POD_KEY, kid="pod"),
        },
    }
    path = pathlib.Path(__file__).with_name("tokens.json")
    path.write_text(json.dumps(fixture, indent=1) + "\n")


main()
