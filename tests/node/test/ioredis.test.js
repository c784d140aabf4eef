// ioredis, unmodified, on three nodes.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Redis } from "ioredis";
import { startCluster } from "./cluster.js";

const PIPELINED = 10_000;

let cluster;
before(async () => {
  cluster = await startCluster();
});
after(async () => {
  await cluster?.stop();
});

for (const protocol of [2, 3]) {
  describe(`RESP${protocol}`, () => {
    const open = [];

    const connect = (port) => {
      const client = new Redis({ port, protocol, commandTimeout: 10_000 });
      open.push(client);
      return client;
    };

    afterEach(() => {
      for (const client of open.splice(0)) client.disconnect();
    });

    // Subscribes; the promise that it returns with the client is kept when `count` messages have come.
    const listen = async (port, subscribe, name, count) => {
      const client = connect(port);
      const messages = [];
      const all = new Promise((done) => {
        const note = (message) => {
          messages.push(message);
          if (messages.length === count) done(messages);
        };
        client.on("message", (channel, payload) => note({ channel, payload }));
        client.on("pmessage", (pattern, channel, payload) => note({ pattern, channel, payload }));
      });
      assert.equal(await client[subscribe](name), 1);
      return { client, messages, all };
    };

    test("a message reaches channel and pattern subscribers on every node", async () => {
      const channel = `node.news.${protocol}`;
      const pattern = `node.*.${protocol}`;
      const listeners = [];
      for (const port of cluster.ports) {
        listeners.push(await listen(port, "subscribe", channel, 3));
        listeners.push(await listen(port, "psubscribe", pattern, 3));
      }
      for (const port of cluster.ports) {
        const receivers = await connect(port).publish(channel, `from ${port}`);
        assert.ok(Number.isInteger(receivers));
      }
      const expected = cluster.ports.map((port) => `from ${port}`);
      for (const { all } of listeners) {
        const messages = await all;
        assert.deepEqual(messages.map((message) => message.payload), expected);
        assert.ok(messages.every((message) => message.channel === channel));
        assert.ok(messages.every((message) => [undefined, pattern].includes(message.pattern)));
      }
    });

    test("ten thousand pipelined messages arrive in order on every node", async () => {
      const channel = `node.pipelined.${protocol}`;
      const listeners = [];
      for (const port of cluster.ports) {
        listeners.push(await listen(port, "subscribe", channel, PIPELINED));
      }
      const pipeline = connect(cluster.ports[protocol - 2]).pipeline();
      for (let n = 0; n < PIPELINED; n += 1) pipeline.publish(channel, String(n));
      const replies = await pipeline.exec();
      assert.equal(replies.filter(([error]) => error === null).length, PIPELINED);
      for (const { all } of listeners) {
        const payloads = (await all).map((message) => Number(message.payload));
        assert.ok(payloads.every((payload, n) => payload === n), "in the order sent");
      }
    });

    test("binary payloads arrive as they were sent", async () => {
      const channel = `node.binary.${protocol}`;
      const payload = Buffer.from([...Array(256).keys(), 13, 10]);
      const client = connect(cluster.ports[0]);
      const received = new Promise((done) => {
        client.on("messageBuffer", (_, bytes) => done(bytes));
      });
      await client.subscribe(channel);
      await connect(cluster.ports[2]).publish(channel, payload);
      assert.deepEqual(await received, payload);
    });

    test("unsubscribing leaves the mode in which only subscriptions are allowed", async () => {
      const client = connect(cluster.ports[1]);
      await client.subscribe("node.a", "node.b");
      assert.equal(await client.unsubscribe("node.a"), 1);
      assert.equal(await client.unsubscribe("node.b"), 0);
      assert.equal(await client.ping(), "PONG");
      assert.ok(Number.isInteger(await client.publish("node.a", "x")));
    });

    test("errors become the library's errors and the connection is still good", async () => {
      const client = connect(cluster.ports[2]);
      await assert.rejects(client.call("NOSUCH", "x"), /unknown command 'NOSUCH'/);
      await assert.rejects(
        client.call("PUBLISH", "only-a-channel"),
        /wrong number of arguments for 'publish' command/,
      );
      assert.equal(await client.ping(), "PONG");
    });
  });
}

test("a subscriber connects again and subscribes again after its node was killed", async () => {
  const port = cluster.ports[0];
  const subscriber = new Redis({ port, retryStrategy: () => 50 });
  const publisher = new Redis({ port: cluster.ports[1], commandTimeout: 10_000 });
  try {
    const received = [];
    const got = new Map();
    subscriber.on("message", (_, payload) => {
      received.push(payload);
      got.get(payload)?.();
    });
    const arrives = (payload) => new Promise((done) => got.set(payload, done));
    await subscriber.subscribe("node.again");
    const before = arrives("before");
    await publisher.publish("node.again", "before");
    await before;
    subscriber.on("error", () => {}); // Refused connections while the node is down are expected.
    await cluster.command("kill", "1");
    await cluster.command("restart", "1");
    // ioredis sends the subscription again by itself; PUBSUB on that node tells when.
    const observer = new Redis({ port });
    try {
      for (;;) {
        const [, count] = await observer.pubsub("NUMSUB", "node.again");
        if (Number(count) > 0) break;
      }
    } finally {
      observer.disconnect();
    }
    const again = arrives("after");
    await publisher.publish("node.again", "after");
    await again;
    assert.deepEqual(received, ["before", "after"]);
  } finally {
    subscriber.disconnect();
    publisher.disconnect();
  }
});
