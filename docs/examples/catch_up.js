// Follows a channel and loses nothing, whichever node goes: prints each message once, with its id.
//
//     node catch_up.js host:port,host:port,host:port channel [last id]
//
// Needs ioredis. With a last id it goes on behind it; without one it begins with what the channel still has.

import { Redis } from "ioredis";

// Ids are compared as numbers, not as text.
function isAfter(id, other) {
  const [[ms, seq], [otherMs, otherSeq]] = [id, other].map((text) => text.split("-").map(BigInt));
  return ms > otherMs || (ms === otherMs && seq > otherSeq);
}

export function follow(nodes, channel, last, handle) {
  const key = `__history__:${channel}`;
  let turn = 0;

  const take = (id, payload) => {
    if (last && !isAfter(id, last)) return;
    last = id;
    handle(id, payload);
  };

  // Reads what was published since the last message.
  const missed = async (reader) => {
    for (;;) {
      try {
        const entries = await reader.xrange(key, last ? `(${last}` : "-", "+", "COUNT", 1000);
        for (const [id, [, payload]] of entries) take(id, payload);
        if (entries.length < 1000) return;
      } catch (error) {
        if (!error.message.startsWith("LAGGED first available id ")) throw error;
        // Some messages are gone for good: get the state from elsewhere, then go on from what is there.
        console.error("messages have been missed");
        last = undefined;
      }
    }
  };

  const connect = () => {
    const [host, port] = nodes[turn++ % nodes.length];
    // When a connection breaks, the next one is to another node.
    const options = { host, port, retryStrategy: null, maxRetriesPerRequest: 0, connectTimeout: 1000 };
    const [live, reader] = [new Redis(options), new Redis(options)];
    for (const client of [live, reader]) client.on("error", () => {});
    // What is delivered waits until what was missed is read.
    let before = live.subscribe(key).then(() => missed(reader));
    const failed = () => live.disconnect();
    before.catch(failed);
    live.on("message", (_, data) => {
      const at = data.indexOf(" ");
      before = before.then(() => take(data.slice(0, at), data.slice(at + 1)));
      before.catch(failed);
    });
    live.once("end", () => {
      reader.disconnect();
      setTimeout(connect, 100);
    });
  };
  connect();
}

const [addresses, channel, last] = process.argv.slice(2);
const nodes = addresses.split(",").map((address) => {
  const at = address.lastIndexOf(":");
  return [address.slice(0, at), Number(address.slice(at + 1))];
});
follow(nodes, channel, last, (id, payload) => console.log(id, payload));
