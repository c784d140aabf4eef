// ioredis and node-redis, each with its own settings, behind what the matrix does with both.
//
// A client has:
//   listen(kind, name, heard)   subscribes, and calls `heard` with the channel and the payload of each message
//   unlisten(kind, name)        ends that
//   publish, spublish           return how many have received it
//   exec(messages)              publishes all in one transaction, and returns its replies
//   call(...words)              any command
//   close()

import { Redis } from "ioredis";
import { createClient } from "redis";

const ioredis = {
  name: "ioredis",
  async connect({ port, protocol, tls, user }) {
    const client = new Redis({ port, protocol, tls, ...user });
    client.on("error", () => {}); // It tells of each attempt while a node is down.
    const events = { subscribe: "message", psubscribe: "pmessage", ssubscribe: "smessage" };
    return {
      async listen(kind, name, heard) {
        const listener = (...message) => {
          if (message[0] === name) heard(...message.slice(-2));
        };
        client.on(events[kind], listener);
        await client[kind](name);
      },
      unlisten: (kind, name) => client[kind.replace("sub", "unsub")](name),
      publish: (channel, payload) => client.publish(channel, payload),
      spublish: (channel, payload) => client.spublish(channel, payload),
      async exec(messages) {
        const transaction = client.multi();
        for (const [channel, payload] of messages) transaction.publish(channel, payload);
        return (await transaction.exec()).map(([error, count]) => error ?? count);
      },
      call: (...words) => client.call(...words),
      close: () => client.disconnect(),
    };
  },
};

const nodeRedis = {
  name: "node-redis",
  async connect({ port, protocol, tls, user }) {
    const socket = { port, ...(tls && { tls: true, ...tls }) };
    const client = createClient({ RESP: protocol, socket, ...user });
    client.on("error", () => {}); // It tells of each attempt while a node is down.
    await client.connect();
    const methods = {
      subscribe: ["subscribe", "unsubscribe"],
      psubscribe: ["pSubscribe", "pUnsubscribe"],
      ssubscribe: ["sSubscribe", "sUnsubscribe"],
    };
    return {
      listen: (kind, name, heard) =>
        client[methods[kind][0]](name, (payload, channel) => heard(channel, payload)),
      unlisten: (kind, name) => client[methods[kind][1]](name),
      publish: (channel, payload) => client.publish(channel, payload),
      spublish: (channel, payload) => client.sPublish(channel, payload),
      exec(messages) {
        const transaction = client.multi();
        for (const [channel, payload] of messages) transaction.publish(channel, payload);
        return transaction.exec();
      },
      call: (...words) => client.sendCommand(words),
      close: () => client.destroy(),
    };
  },
};

export const libraries = [ioredis, nodeRedis];
