"""Makes the calls it reads as a JSON array on its input with Python clients, in order, and prints
one line of JSON for each: the tokens the client reports, or the class of its error.

A case: {client, operation, url, model, ca, key, token}; without a key the client signs with one
that nobody knows, and a token takes the place of a key. Runs in an environment of its own, whose pins are
`requirements-compat.txt`: these clients want other versions of each other's parts.
"""

import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile

KEY = ("AKIACLIENT", "client-secret")
REGION = "us-east-1"
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64,
          "messages": [{"role": "user", "content": "Say hello."}]}


def anthropic_events(events):
    """The tokens that the events of a Claude stream add up to."""
    tokens = {}
    for event in events:
        usage = event.get("message", {}).get("usage") or event.get("usage") or {}
        counted = ("input_tokens", "output_tokens")
        tokens |= {name: usage[name] for name in counted if usage.get(name) is not None}
    return tokens


def pair(case, access_key, secret_key):
    """The arguments that give a client its key pair, or none where it has a token."""
    if case.get("token"):
        return {}
    found = case.get("key") or KEY
    return {access_key: found[0], secret_key: found[1]}


def converse_usage(usage):
    return {"input_tokens": usage["inputTokens"], "output_tokens": usage["outputTokens"]}


def boto3(case):
    import boto3

    client = boto3.client("bedrock-runtime", region_name=REGION, endpoint_url=case["url"],
                          verify=case["ca"], **pair(case, "aws_access_key_id", "aws_secret_access_key"))
    messages = [{"role": "user", "content": [{"text": "Say hello."}]}]
    match case["operation"]:
        case "Converse":
            return converse_usage(client.converse(modelId=case["model"], messages=messages)["usage"])
        case "ConverseStream":
            stream = client.converse_stream(modelId=case["model"], messages=messages)["stream"]
            (metadata,) = [event["metadata"] for event in stream if "metadata" in event]
            return converse_usage(metadata["usage"])
        case "InvokeModel":
            answer = client.invoke_model(modelId=case["model"], body=json.dumps(CLAUDE))
            return anthropic_events([json.loads(answer["body"].read())])
        case "InvokeModelWithResponseStream":
            answer = client.invoke_model_with_response_stream(modelId=case["model"], body=json.dumps(CLAUDE))
            return anthropic_events(json.loads(event["chunk"]["bytes"]) for event in answer["body"])


class CliError(Exception):
    """What the command line printed."""


def aws_cli(case):
    command = [str(pathlib.Path(sys.executable).parent / "aws"), "bedrock-runtime"]
    common = ["--region", REGION, "--endpoint-url", case["url"], "--model-id", case["model"]]
    if case["ca"]:
        common += ["--ca-bundle", case["ca"]]
    environment = os.environ | pair(case, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

    def run(*arguments):
        done = subprocess.run([*command, *arguments, *common], capture_output=True, text=True, env=environment)
        if done.returncode:
            raise CliError(done.stderr)
        return done.stdout

    if case["operation"] == "Converse":
        messages = json.dumps([{"role": "user", "content": [{"text": "Say hello."}]}])
        return converse_usage(json.loads(run("converse", "--messages", messages))["usage"])
    with tempfile.NamedTemporaryFile() as answer:
        run("invoke-model", "--body", json.dumps(CLAUDE), answer.name)
        return anthropic_events([json.load(open(answer.name))])


def anthropic_sdk(case):
    import anthropic
    import httpx2

    trust = ssl.create_default_context(cafile=case["ca"]) if case["ca"] else True
    shown = {"api_key": case["token"]} if case.get("token") else pair(case, "aws_access_key", "aws_secret_key")
    client = anthropic.AnthropicBedrock(
        base_url=case["url"], aws_region=REGION, http_client=httpx2.Client(verify=trust), **shown)
    ask = {"model": case["model"], "max_tokens": 64, "messages": CLAUDE["messages"]}
    if case["operation"] == "InvokeModel":
        return anthropic_events([client.messages.create(**ask).model_dump()])
    return anthropic_events(event.model_dump() for event in client.messages.create(**ask, stream=True))


def langchain(case):
    from botocore.config import Config
    from langchain_aws import ChatBedrock, ChatBedrockConverse

    import boto3

    client = boto3.client("bedrock-runtime", region_name=REGION, endpoint_url=case["url"], config=Config(),
                          verify=case["ca"], **pair(case, "aws_access_key_id", "aws_secret_access_key"))
    if case["operation"].startswith("Converse"):
        model = ChatBedrockConverse(model=case["model"], client=client, region_name=REGION)
    else:
        model = ChatBedrock(model=case["model"], client=client, region_name=REGION, max_tokens=64)
    if case["operation"] in ("Converse", "InvokeModel"):
        usage = model.invoke("Say hello.").usage_metadata
    else:
        total = None
        for chunk in model.stream("Say hello."):
            total = chunk if total is None else total + chunk
        usage = total.usage_metadata
    return {name: usage[name] for name in ("input_tokens", "output_tokens")}


def litellm(case):
    import litellm

    litellm.suppress_debug_info = True
    route = "converse" if case["operation"].startswith("Converse") else "invoke"
    ask = {
        "model": f"bedrock/{route}/{case['model']}", "max_tokens": 64, "messages": CLAUDE["messages"],
        "aws_region_name": REGION, **pair(case, "aws_access_key_id", "aws_secret_access_key"),
        "aws_bedrock_runtime_endpoint": case["url"], "num_retries": 0,
    }
    if case["operation"] in ("Converse", "InvokeModel"):
        usage = litellm.completion(**ask).usage
    else:
        chunks = litellm.completion(**ask, stream=True, stream_options={"include_usage": True})
        (usage,) = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


CLIENTS = {"boto3": boto3, "aws-cli": aws_cli, "anthropic-python": anthropic_sdk,
           "langchain-aws": langchain, "litellm": litellm}


def main():
    for case in json.load(sys.stdin):
        os.environ.pop("AWS_BEARER_TOKEN_BEDROCK", None)
        if case.get("token"):
            os.environ["AWS_BEARER_TOKEN_BEDROCK"] = case["token"]
        try:
            answer = CLIENTS[case["client"]](case)
        except Exception as error:  # whatever class the client has for it
            answer = {"error": type(error).__name__, "message": str(error)[:500]}
            code = getattr(error, "response", None)
            if isinstance(code, dict):
                answer["code"] = code["Error"]["Code"]
        print(json.dumps(answer), flush=True)


main()
