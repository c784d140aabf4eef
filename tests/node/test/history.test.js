// docs/examples/catch_up.js, which follows a channel while the node that it is on is killed and comes back.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFile, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Redis } from "ioredis";
import { startCluster } from "./cluster.js";

const CHANNEL = "catch.up";
const example = resolve(import.meta.dirname, "../../../docs/examples/catch_up.js");
// Where its package is.
const program = resolve(import.meta.dirname, "catch_up.copy.js");

let cluster;
before(async () => {
  cluster = await startCluster();
  await copyFile(example, program);
});
after(async () => {
  await rm(program, { force: true });
  await cluster?.stop();
});

async function until(what, isTrue) {
  for (let tries = 0; tries < 1000; tries += 1) {
    if (isTrue()) return;
    await pause(20);
  }
  assert.fail(`in time: ${what}`);
}

test("nothing is missed and nothing comes twice", { timeout: 60_000 }, async () => {
  const publisher = new Redis({ port: cluster.ports[0] });
  const published = [];
  const publish = async (count) => {
    for (let n = 0; n < count; n += 1) {
      const payload = `message ${published.length}`;
      await publisher.publish(CHANNEL, payload);
      published.push(payload);
    }
  };
  await publish(10);
  // The program goes to the nodes in this order.
  const addresses = [3, 2, 1].map((n) => `127.0.0.1:${cluster.ports[n - 1]}`).join(",");
  const follower = spawn(process.execPath, [program, addresses, CHANNEL], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = [];
  createInterface({ input: follower.stdout }).on("line", (line) => lines.push(line));
  const allHaveCome = () => {
    const payloads = lines.map((line) => line.slice(line.indexOf(" ") + 1));
    return payloads.length === published.length && payloads.every((payload, n) => payload === published[n]);
  };
  try {
    await until("what was there before has come", allHaveCome);
    await publish(100);
    await cluster.command("kill", "3");
    await publish(100);
    await until("all have come from another node", allHaveCome);
    await cluster.command("restart", "3");
    await cluster.command("kill", "2");
    await publish(100);
    await until("all have come from yet another node", allHaveCome);
    await cluster.command("restart", "2");
    await publish(10);
    await until("all have come", allHaveCome);
  } finally {
    follower.kill();
    publisher.disconnect();
  }
});
