// Talks to the endpoint it reads as JSON on its input with @anthropic-ai/bedrock-sdk: one message
// at once, one streamed. Prints the usage of each as one line of JSON.

import { AnthropicBedrock } from "@anthropic-ai/bedrock-sdk";
import { text } from "node:stream/consumers";

const [{ url, model, headers }] = JSON.parse(await text(process.stdin));
const client = new AnthropicBedrock({
  baseURL: url,
  awsRegion: "us-east-1",
  awsAccessKey: "AKIACLIENT",
  awsSecretKey: "client-secret",
  defaultHeaders: headers,
});
const ask = { model, max_tokens: 64, messages: [{ role: "user", content: "Say hello." }] };

const message = await client.messages.create(ask);
console.log(JSON.stringify(message.usage));

let usage = {};
for await (const event of await client.messages.create({ ...ask, stream: true })) {
  if (event.type === "message_start") usage = { ...usage, ...event.message.usage };
  if (event.type === "message_delta") usage = { ...usage, ...event.usage };
}
console.log(JSON.stringify(usage));
