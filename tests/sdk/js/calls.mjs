// Makes the calls it reads as a JSON array on its input with @aws-sdk/client-bedrock-runtime, in
// order, and prints for each one line of JSON: what was on the wire and what the caller got.
//
// A case: {url, operation, model, headers, handler: "default" | "http1", body_bytes?, parallel?}

import { createHash } from "node:crypto";
import { text } from "node:stream/consumers";
import { PassThrough } from "node:stream";
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";
import { NodeHttpHandler } from "@smithy/node-http-handler";

const CLAUDE = JSON.stringify({
  anthropic_version: "bedrock-2023-05-31",
  max_tokens: 64,
  messages: [{ role: "user", content: "Say hello." }],
});
const CONVERSE = [{ role: "user", content: [{ text: "Say hello." }] }];

// Watches the handler the client came with, so that the default one stays the default one.
function watch(client, headers) {
  const handler = client.config.requestHandler;
  const handle = handler.handle.bind(handler);
  const seen = { attempts: 0, error: null, protocol: handler.metadata?.handlerProtocol };
  const hash = createHash("sha256");
  handler.handle = async (request, options) => {
    seen.attempts += 1;
    Object.assign(request.headers, headers);
    const out = await handle(request, options);
    seen.status = out.response.statusCode;
    seen.headers = Object.fromEntries(
      Object.entries(out.response.headers).filter(([name]) => !name.startsWith(":")),
    );
    const tee = new PassThrough();
    out.response.body.on("data", (chunk) => hash.update(chunk));
    out.response.body.on("error", (error) => tee.destroy(error));
    out.response.body.pipe(tee);
    out.response.body = tee;
    return out;
  };
  return { seen, hash };
}

async function count(stream) {
  let events = 0;
  for await (const event of stream) events += event ? 1 : 0;
  return events;
}

async function result(client, { operation, model: modelId, body_bytes }) {
  // White space after JSON is JSON still.
  const body = CLAUDE.padEnd(body_bytes ?? 0);
  switch (operation) {
    case "InvokeModel":
      return (await client.send(new InvokeModelCommand({ modelId, body }))).body.length;
    case "InvokeModelWithResponseStream":
      return count(
        (await client.send(new InvokeModelWithResponseStreamCommand({ modelId, body }))).body,
      );
    case "Converse":
      return (await client.send(new ConverseCommand({ modelId, messages: CONVERSE }))).usage;
    case "ConverseStream":
      return count(
        (await client.send(new ConverseStreamCommand({ modelId, messages: CONVERSE }))).stream,
      );
    default:
      throw new Error(`unknown operation ${operation}`);
  }
}

async function call(one) {
  const client = new BedrockRuntimeClient({
    region: "us-east-1",
    endpoint: one.url,
    credentials: { accessKeyId: "AKIACLIENT", secretAccessKey: "client-secret" },
    ...(one.handler === "http1" ? { requestHandler: new NodeHttpHandler() } : {}),
  });
  const { seen, hash } = watch(client, one.headers ?? {});
  try {
    seen.result = await result(client, one);
  } catch (error) {
    seen.error = error.name;
    seen.message = error.message;
  }
  // A retried call hashes the bodies of all its attempts: the errors are equal, so are the sums.
  seen.body = hash.digest("hex");
  client.destroy();
  return seen;
}

const cases = JSON.parse(await text(process.stdin));
const together = cases.every((one) => one.parallel);
const answers = together ? await Promise.all(cases.map(call)) : [];
if (!together) for (const one of cases) answers.push(await call(one));
for (const answer of answers) console.log(JSON.stringify(answer));
process.exit(0);
