// What every library is tested with: on the plain port, by TLS, and as a user with a password who may use channels of
// one pattern, each in RESP2 and RESP3. Publishers and subscribers are on different nodes.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { Redis } from "ioredis";
import { startCluster } from "./cluster.js";
import { libraries } from "./libraries.js";

const USER = { username: "alice", password: "a secret of the tests" };
// INFO, because ioredis asks whether a node is ready; without it, it warns on standard error and goes on.
const RULES = ["resetchannels", "&matrix.*", "+@pubsub", "+@transaction", "+@connection", "+info"];
const WAYS = ["plain", "tls", "user"];
const PROTOCOLS = [2, 3];
const KINDS = ["subscribe", "psubscribe", "ssubscribe"];

let cluster;
let tls;
let admin;
const open = [];

before(async () => {
  cluster = await startCluster({ tls: true });
  const file = (name) => readFile(join(cluster.certificates, name));
  tls = { ca: await file("ca.crt"), cert: await file("client.crt"), key: await file("client.key") };
  admin = new Redis({ port: cluster.ports[0] });
  await admin.call("ACL", "SETUSER", USER.username, "on", `>${USER.password}`, ...RULES);
  for (const port of cluster.ports) {
    const client = new Redis({ port });
    await until(async () => (await client.call("ACL", "USERS")).includes(USER.username));
    client.disconnect();
  }
});
after(async () => {
  admin?.disconnect();
  await cluster?.stop();
});
afterEach(() => {
  for (const client of open.splice(0)) client.close();
});

async function connect(library, way, protocol, node) {
  const client = await library.connect({
    port: (way === "tls" ? cluster.tlsPorts : cluster.ports)[node - 1],
    protocol,
    tls: way === "tls" ? tls : undefined,
    user: way === "user" ? USER : undefined,
  });
  open.push(client);
  return client;
}

// Asks until the answer is yes; the time limit of the test is the limit.
async function until(probe) {
  while (!(await probe()));
}

// What was heard; `wait` is kept when as many messages have come.
function ear() {
  const messages = [];
  let waiting;
  const look = () => {
    if (waiting && messages.length >= waiting.count) waiting.done();
  };
  return {
    heard(channel, payload) {
      messages.push([channel, payload]);
      look();
    },
    wait: (count) =>
      new Promise((done) => {
        waiting = { count, done: () => done(messages) };
        look();
      }),
  };
}

for (const library of libraries) {
  for (const way of WAYS) {
    for (const protocol of PROTOCOLS) {
      describe(`${library.name}, ${way}, RESP${protocol}`, () => {
        const channelOf = (name) => `matrix.${library.name}.${way}.${protocol}.${name}`;

        for (const kind of KINDS) {
          test(`${kind} on one node, and publish on another`, { timeout: 30_000 }, async () => {
            const channel = channelOf(kind);
            const name = kind === "psubscribe" ? "matrix.*" : channel;
            const listener = await connect(library, way, protocol, 2);
            const publisher = await connect(library, way, protocol, 1);
            const publish = kind === "ssubscribe" ? publisher.spublish : publisher.publish;
            const { heard, wait } = ear();
            // Those of the test before this one may still be counted.
            await until(async () => (await publish(channel, "nobody")) === 0);
            await listener.listen(kind, name, heard);
            assert.equal(await publish(channel, "one"), 1);
            assert.equal(await publish(channel, "two"), 1);
            assert.deepEqual(await wait(2), [[channel, "one"], [channel, "two"]]);
            await listener.unlisten(kind, name);
            assert.equal(await publish(channel, "nobody"), 0);
            // node-redis gives bytes after it has listened with RESP2, with Redis too.
            assert.equal(String(await listener.call("PING")), "PONG");
          });
        }

        test("a transaction, and the counts of all nodes", { timeout: 30_000 }, async () => {
          const [first, second] = [channelOf("first"), channelOf("second")];
          const { heard, wait } = ear();
          for (const node of [2, 3]) {
            const listener = await connect(library, way, protocol, node);
            await listener.listen("subscribe", first, heard);
            await listener.listen("subscribe", second, heard);
          }
          const publisher = await connect(library, way, protocol, 1);
          assert.deepEqual(await publisher.exec([[first, "1"], [second, "2"], [first, "3"]]), [2, 2, 2]);
          const channels = (await wait(6)).map(([channel]) => channel).sort();
          assert.deepEqual(channels, [first, first, first, first, second, second]);
          const counts = await publisher.call("PUBSUB", "NUMSUB", first, second);
          assert.deepEqual(counts, [first, 2, second, 2]);
        });
      });
    }
  }

  for (const protocol of PROTOCOLS) {
    test(`${library.name} is told what a user may not do, RESP${protocol}`, { timeout: 30_000 }, async () => {
      const client = await connect(library, "user", protocol, 1);
      await assert.rejects(client.publish("elsewhere", "x"), /NOPERM/);
      await assert.rejects(client.listen("subscribe", "elsewhere", () => {}), /NOPERM/);
      await assert.rejects(client.listen("psubscribe", "*", () => {}), /NOPERM/);
      assert.equal(await client.publish("matrix.nobody", "the connection is still good"), 0);
    });
  }
}

test("subscribers subscribe again by themselves when their node was killed", { timeout: 60_000 }, async () => {
  const channel = "matrix.again";
  const ears = [];
  for (const library of libraries) {
    for (const way of WAYS) {
      for (const protocol of PROTOCOLS) {
        const client = await connect(library, way, protocol, 3);
        const each = ear();
        ears.push(each);
        await client.listen("subscribe", channel, each.heard);
      }
    }
  }
  assert.equal(await admin.publish(channel, "before"), ears.length);
  for (const each of ears) await each.wait(1);
  await cluster.command("kill", "3");
  await until(async () => (await admin.publish(channel, "while")) === 0);
  await cluster.command("restart", "3");
  await until(async () => (await admin.pubsub("NUMSUB", channel))[1] === ears.length);
  assert.equal(await admin.publish(channel, "after"), ears.length);
  for (const each of ears) assert.deepEqual(await each.wait(2), [[channel, "before"], [channel, "after"]]);
});
