"""redis-py's consumers of one group, when a node that some of them use is killed: nothing is lost, and nothing is given
to two of them. The producer sends every entry twice under the same name; it is there once."""

import threading

import redis
from conftest import until

ENTRIES = 300
STREAM, GROUP = "orders", "workers"


class Worker:
    """Works until it is told to stop; goes to the next node when one fails, and begins there with what it had."""

    def __init__(self, name, ports):
        self.name = name
        self.ports = ports
        self.done = []
        self.stopped = False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        at = 0
        while not self.stopped:
            client = redis.Redis(port=self.ports[at % len(self.ports)], decode_responses=True, protocol=2, retry=None)
            try:
                while not self.stopped:
                    # What an answer that was lost had given is still pending, for this consumer alone.
                    self.take(client, "0") or self.take(client, ">")
            except redis.RedisError:
                at += 1

    def take(self, client, after):
        found = client.xreadgroup(GROUP, self.name, {STREAM: after}, count=5, block=200)
        entries = [entry for _, entries in found for entry in entries]
        for entry, _ in entries:
            self.done.append(entry)
            client.xack(STREAM, GROUP, entry)
        return entries

    def stop(self):
        self.stopped = True
        self.thread.join()


def test_a_group_of_four_when_a_node_is_killed(cluster):
    one, two, three = cluster.ports
    producer = redis.Redis(port=one, decode_responses=True)
    producer.xgroup_create(STREAM, GROUP, "$", mkstream=True)
    ways = {"a": [one, two], "b": [two, one], "c": [three, one], "d": [three, two]}
    workers = [Worker(name, ports) for name, ports in ways.items()]
    added = []
    for n in range(ENTRIES):
        if n == ENTRIES // 2:
            cluster.run("kill", "3")
        attempt = ["XADD", STREAM, "IDMP", "producer", n, "*", "n", n]
        first, again = (until("it is added", lambda: sent(producer, attempt)) for _ in range(2))
        assert first == again
        added.append(first)
    assert producer.xlen(STREAM) == ENTRIES

    def all_done():
        return {entry for worker in workers for entry in worker.done} == set(added)

    until("all is done", all_done)
    until("all is acknowledged", lambda: producer.xpending(STREAM, GROUP)["pending"] == 0)
    for worker in workers:
        worker.stop()
    by = [set(worker.done) for worker in workers]
    assert sum(len(done) for done in by) == ENTRIES, "nothing was given to two"
    cluster.run("restart", "3")
    again = redis.Redis(port=three, decode_responses=True)
    until("the node is back", lambda: length(again) == ENTRIES)


def sent(client, command):
    """Nothing if its fate is not known: it is sent again, under the same name."""
    try:
        return client.execute_command(*command)
    except redis.RedisError:
        return None


def length(client):
    try:
        return client.xlen(STREAM)
    except redis.RedisError:
        return None
