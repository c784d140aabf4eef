// ioredis, unmodified, by TLS on three nodes that talk TLS to each other.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Redis } from "ioredis";
import { startCluster } from "./cluster.js";

let cluster;
let tls;
before(async () => {
  cluster = await startCluster({ tls: true });
  const file = (name) => readFile(join(cluster.certificates, name));
  tls = { ca: await file("ca.crt"), cert: await file("client.crt"), key: await file("client.key") };
});
after(() => cluster?.stop());

for (const protocol of [2, 3]) {
  test(`messages reach every node with RESP${protocol}`, async () => {
    const clients = [];
    const connect = (port) => {
      const client = new Redis({ port, host: "localhost", protocol, tls, commandTimeout: 30_000 });
      clients.push(client);
      return client;
    };
    try {
      const payloads = ["x".repeat(1_000_000), ...Array.from({ length: 100 }, (_, n) => String(n))];
      const listening = cluster.tlsPorts.map(async (port) => {
        const client = connect(port);
        const messages = [];
        const all = new Promise((done) => {
          client.on("message", (_, payload) => {
            if (messages.push(payload) === payloads.length) done(messages);
          });
        });
        assert.equal(await client.subscribe("node.tls"), 1);
        return { all };
      });
      const listeners = await Promise.all(listening);
      const publisher = connect(cluster.tlsPorts[protocol - 2]);
      for (const payload of payloads) publisher.publish("node.tls", payload);
      for (const { all } of listeners) assert.deepEqual(await all, payloads);
    } finally {
      for (const client of clients) client.disconnect();
    }
  });
}

test("without a certificate nothing is said", async () => {
  const client = new Redis({
    port: cluster.tlsPorts[0],
    host: "localhost",
    tls: { ca: tls.ca },
    retryStrategy: null,
    maxRetriesPerRequest: 0,
  });
  const failed = new Promise((done) => client.on("error", done));
  await assert.rejects(client.ping());
  assert.match(String(await failed), /certificate required/);
  client.disconnect();
});
