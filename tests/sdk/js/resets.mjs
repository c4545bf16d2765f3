// Opens the HTTP/2 streams it reads as a JSON array on its input, all on one connection, and
// resets each one in mid-stream, once `reset_after_bytes` of its answer have arrived.
//
// A case: {url, path, headers, body, reset_after_bytes}; answers {status, bytes}.

import { connect, constants } from "node:http2";
import { text } from "node:stream/consumers";

const cases = JSON.parse(await text(process.stdin));
const session = connect(cases[0].url);

function run(one) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": one.path, ...one.headers });
    const seen = { status: null, bytes: 0 };
    stream.on("response", (headers) => (seen.status = headers[":status"]));
    stream.on("data", (chunk) => {
      seen.bytes += chunk.length;
      if (seen.bytes >= one.reset_after_bytes) stream.close(constants.NGHTTP2_CANCEL);
    });
    stream.on("error", reject);
    stream.on("close", () => resolve(seen));
    stream.end(one.body);
  });
}

const answers = await Promise.all(cases.map(run));
for (const answer of answers) console.log(JSON.stringify(answer));
session.destroy();
