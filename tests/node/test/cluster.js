// A cluster of three real nodes on ports of its own, by scripts/cluster.

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const script = resolve(import.meta.dirname, "../../../scripts/cluster");

function isFree(port) {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}

// Below the range from which the kernel gives ports to clients, and outside of those that the other tests use.
async function basePort(plus) {
  const first = 6400 + (process.pid % 35) * 100;
  for (let base = first; base < first + 100; base += 4) {
    const ports = [1, 2, 3].flatMap((n) => [0, 10000, ...plus].map((more) => base + n + more));
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error(`no free ports above ${first}`);
}

// With `tls`, the nodes talk TLS to each other, and to clients on `tlsPorts`.
export async function startCluster({ tls = false } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "corgi-node-test-"));
  const base = await basePort(tls ? [500] : []);
  const env = {
    ...process.env,
    CORGI_CLUSTER_DIR: folder,
    CORGI_BASE_PORT: String(base),
    CORGI_TLS: tls ? "yes" : "no",
  };
  const command = async (...args) => (await run(script, args, { env })).stdout;
  const stop = async () => {
    await command("stop");
    await rm(folder, { recursive: true });
  };
  try {
    await command("start");
  } catch (error) {
    await stop();
    throw error;
  }
  const ports = [1, 2, 3].map((n) => base + n);
  const tlsPorts = ports.map((port) => port + 500);
  return { ports, tlsPorts, certificates: join(folder, "certificates"), command, stop };
}
