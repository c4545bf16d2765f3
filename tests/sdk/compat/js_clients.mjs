// Makes the calls it reads as a JSON array on its input with JavaScript clients, in order, and prints
// one line of JSON for each: the tokens the client reports, or the name of its error.
//
// A case: {client, operation, url, model, key, token}; without a key the client signs with one that
// nobody knows, and a token takes the place of a key. A private CA comes by NODE_EXTRA_CA_CERTS.

import { text } from "node:stream/consumers";
import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { AnthropicBedrock } from "@anthropic-ai/bedrock-sdk";
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";
import { ChatBedrockConverse } from "@langchain/aws";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { generateText, streamText } from "ai";

const REGION = "us-east-1";
const pair = ({ key }) => ({
  accessKeyId: key?.[0] ?? "AKIACLIENT",
  secretAccessKey: key?.[1] ?? "client-secret",
});
// What an AWS client is given: a key pair, or the token that stands in the environment.
const credentials = (one) => (one.token ? {} : { credentials: pair(one) });
const CLAUDE = {
  anthropic_version: "bedrock-2023-05-31",
  max_tokens: 64,
  messages: [{ role: "user", content: "Say hello." }],
};

const claude = ({ input_tokens, output_tokens }) => ({ input_tokens, output_tokens });
const converse = ({ inputTokens, outputTokens }) => ({
  input_tokens: inputTokens,
  output_tokens: outputTokens,
});

// The tokens that the events of a Claude stream add up to.
async function claudeEvents(events) {
  let usage = {};
  for await (const event of events) {
    if (event.type === "message_start") usage = { ...usage, ...event.message.usage };
    if (event.type === "message_delta") usage = { ...usage, ...event.usage };
  }
  return claude(usage);
}

async function* chunks(stream) {
  for await (const { chunk } of stream) yield JSON.parse(Buffer.from(chunk.bytes).toString());
}

async function aws(one, handler) {
  const { operation, url, model: modelId } = one;
  const client = new BedrockRuntimeClient({
    region: REGION,
    endpoint: url,
    ...credentials(one),
    ...handler,
  });
  const messages = [{ role: "user", content: [{ text: "Say hello." }] }];
  const body = JSON.stringify(CLAUDE);
  try {
    switch (operation) {
      case "Converse":
        return converse((await client.send(new ConverseCommand({ modelId, messages }))).usage);
      case "ConverseStream": {
        let usage;
        const answer = await client.send(new ConverseStreamCommand({ modelId, messages }));
        for await (const event of answer.stream) usage = event.metadata?.usage ?? usage;
        return converse(usage);
      }
      case "InvokeModel": {
        const answer = await client.send(new InvokeModelCommand({ modelId, body }));
        return claude(JSON.parse(Buffer.from(answer.body).toString()).usage);
      }
      default: {
        const command = new InvokeModelWithResponseStreamCommand({ modelId, body });
        return await claudeEvents(chunks((await client.send(command)).body));
      }
    }
  } finally {
    client.destroy();
  }
}

async function anthropic(one) {
  const { operation, url, model, token } = one;
  const { accessKeyId: awsAccessKey, secretAccessKey: awsSecretKey } = pair(one);
  const shown = token ? { apiKey: token } : { awsAccessKey, awsSecretKey };
  const client = new AnthropicBedrock({ baseURL: url, awsRegion: REGION, ...shown });
  const ask = { model, max_tokens: 64, messages: CLAUDE.messages };
  if (operation === "InvokeModel") return claude((await client.messages.create(ask)).usage);
  return claudeEvents(await client.messages.create({ ...ask, stream: true }));
}

async function aiSdk(one) {
  const { operation, url, model, token } = one;
  const shown = token ? { apiKey: token } : pair(one);
  const bedrock = createAmazonBedrock({ baseURL: url, region: REGION, ...shown });
  const ask = { model: bedrock(model), prompt: "Say hello.", maxOutputTokens: 64 };
  if (operation === "Converse") return converse((await generateText(ask)).usage);
  let failure;
  const answer = streamText({ ...ask, onError: ({ error }) => (failure = error) });
  for await (const _part of answer.textStream);
  if (failure) throw failure;
  return converse(await answer.usage);
}

async function langchain(one) {
  const { operation, url, model } = one;
  const client = new BedrockRuntimeClient({ region: REGION, endpoint: url, ...credentials(one) });
  const chat = new ChatBedrockConverse({ model, region: REGION, client, maxRetries: 0 });
  if (operation === "Converse") return claude((await chat.invoke("Say hello.")).usage_metadata);
  let total;
  for await (const chunk of await chat.stream("Say hello.")) {
    total = total ? total.concat(chunk) : chunk;
  }
  return claude(total.usage_metadata);
}

const CLIENTS = {
  "aws-sdk-js (HTTP/2)": (one) => aws(one, {}),
  "aws-sdk-js (HTTP/1.1)": (one) => aws(one, { requestHandler: new NodeHttpHandler() }),
  "anthropic-bedrock-sdk": anthropic,
  "ai-sdk": aiSdk,
  "langchain-js": langchain,
};

for (const one of JSON.parse(await text(process.stdin))) {
  let answer;
  delete process.env.AWS_BEARER_TOKEN_BEDROCK;
  if (one.token) process.env.AWS_BEARER_TOKEN_BEDROCK = one.token;
  try {
    answer = await CLIENTS[one.client](one);
  } catch (error) {
    const cause = error.lastError ?? error;
    answer = { error: cause.name, message: String(cause.message).slice(0, 500) };
  }
  console.log(JSON.stringify(answer));
}
process.exit(0);
