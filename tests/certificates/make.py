"""Makes clients.pem: certificates that another implementation wrote, for the reader of their names.

    python3 -m venv /tmp/certificates && /tmp/certificates/bin/pip install cryptography
    /tmp/certificates/bin/python tests/certificates/make.py

They sign themselves, their keys are forgotten, and nothing verifies them.
"""

import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ID = "spiffe://corp.example/ns/search/sa/api"
DNS, URI, EMAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name
CERTIFICATES = {
    "spiffe": [URI(ID)],
    "dns": [DNS("API.search.svc"), DNS("*.search.svc")],
    "email": [EMAIL("ann@search.example")],
    "mixed": [
        DNS("api.search.svc"),
        URI("https://search.example/api"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        EMAIL("ann@search.example"),
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])),
        URI(ID),
    ],
    "two ids": [URI(ID), DNS("api.search.svc"), URI(ID.replace("api", "web"))],
    "control characters": [
        DNS("good.search.svc"),
        DNS("evil.svc\0.search.svc"),
        DNS("a b.search.svc"),
        DNS(""),
        URI("spiffe://corp.example/a\n"),
    ],
    "many names": [DNS(f"{number}.search.svc") for number in range(200)],
    "without names": [],
}


def certificate(names):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web.chat.svc")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if names:
        critical = len(names) == 1
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def main():
    parts = [f"# {name}\n{certificate(names)}" for name, names in CERTIFICATES.items()]
    pathlib.Path(__file__).with_name("clients.pem").write_text("".join(parts))


main()
