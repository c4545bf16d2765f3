"""The clients under test: boto3 as it comes, the JavaScript SDKs through Node, and bare sockets.

Each returns what the client saw on the wire next to what its caller saw, so that a test can hold a
call through the proxy against a direct one.
"""

import hashlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
from harness import CLIENT_KEY, REGION

HERE = pathlib.Path(__file__).resolve().parent

CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64,
          "messages": [{"role": "user", "content": "Say hello."}]}
CONVERSE = [{"role": "user", "content": [{"text": "Say hello."}]}]
OPERATIONS = ("InvokeModel", "InvokeModelWithResponseStream", "Converse", "ConverseStream")


class _Tee:
    """The raw body of an event stream, hashed while the SDK reads it."""

    def __init__(self, raw):
        self._raw = raw
        self.hash = hashlib.sha256()

    def stream(self, *arguments, **options):
        for chunk in self._raw.stream(*arguments, **options):
            self.hash.update(chunk)
            yield chunk

    def __getattr__(self, name):
        return getattr(self._raw, name)


def boto3_client(url, **settings):
    """A bedrock-runtime client that differs from the default one in its endpoint only."""
    return boto3.client(
        "bedrock-runtime",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=CLIENT_KEY[0],
        aws_secret_access_key=CLIENT_KEY[1],
        config=botocore.config.Config(**settings),
    )


def boto3_call(url, operation, model, headers, body=None):
    """One call: status, headers and body hash of the last answer, the attempts, the error class."""
    client = boto3_client(url)
    seen = {"attempts": 0, "error": None}
    tees = []

    def before_send(request, **_):
        seen["attempts"] += 1
        for name, value in headers.items():
            request.headers[name] = value

    def before_parse(response_dict, **_):
        seen["status"] = response_dict["status_code"]
        seen["headers"] = {k.lower(): v for k, v in response_dict["headers"].items()}
        content = response_dict["body"]
        if hasattr(content, "stream"):
            response_dict["body"] = _Tee(content)
            tees.append(response_dict["body"])
        elif isinstance(content, bytes):
            seen["body"] = hashlib.sha256(content).hexdigest()

    client.meta.events.register("before-send.bedrock-runtime", before_send)
    client.meta.events.register("before-parse.bedrock-runtime", before_parse)
    try:
        seen["result"] = _boto3_result(client, operation, model, body, seen)
    except botocore.exceptions.ClientError as error:
        seen["error"] = type(error).__name__
        seen["code"] = error.response["Error"]["Code"]
        seen["message"] = error.response["Error"]["Message"]
    if tees:
        seen["body"] = tees[-1].hash.hexdigest()
    return seen


def _boto3_result(client, operation, model, body, seen):
    """What the caller of the SDK gets, reduced to something that can be compared."""
    payload = body if body is not None else json.dumps(CLAUDE).encode()
    if operation == "InvokeModel":
        content = client.invoke_model(modelId=model, body=payload)["body"].read()
        seen["body"] = hashlib.sha256(content).hexdigest()
        return len(content)
    if operation == "InvokeModelWithResponseStream":
        answer = client.invoke_model_with_response_stream(modelId=model, body=payload)
        return sum(1 for _ in answer["body"])
    if operation == "Converse":
        return client.converse(modelId=model, messages=CONVERSE)["usage"]
    return sum(1 for _ in client.converse_stream(modelId=model, messages=CONVERSE)["stream"])


def node(script, *cases, seconds=120, environment=None):
    """Runs `js/SCRIPT` with the cases as JSON on its input; one JSON answer for each."""
    done = subprocess.run(
        ["node", HERE / "js" / script],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def signed(method, url, headers=None, body=b"", host=None, key=CLIENT_KEY, service="bedrock", region=REGION):
    """The headers of a request signed like the SDKs do it, `host` as the client spells it."""
    parts = urllib.parse.urlsplit(url)
    host = host or parts.netloc
    request = botocore.awsrequest.AWSRequest(
        method=method,
        url=parts._replace(netloc=host).geturl(),
        data=body,
        headers=dict(headers or {}),
    )
    botocore.auth.SigV4Auth(
        botocore.credentials.Credentials(*key), service, region
    ).add_auth(request)
    return {**dict(request.headers), "Host": host}


def request_bytes(method, path, headers, body=b""):
    """An HTTP/1.1 request as bytes, for tests that own the socket."""
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def connect(url):
    """A TCP connection to the listener of that URL."""
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def exchange(url, method, path, headers, body=b""):
    """One request on a connection of its own: status, headers and body of the answer."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": parts.netloc, **headers}.items():
            connection.putheader(name, value)
        if body or method == "POST":
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()
