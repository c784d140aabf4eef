"""Follows a channel and loses nothing, whichever node goes: prints each message once, with its id.

    python3 catch_up.py host:port,host:port,host:port channel [last id]

Needs redis-py. With a last id it goes on behind it; without one it begins with what the channel still has.
"""

import sys
import time

import redis


def number(text):
    """Ids are compared as numbers, not as text."""
    return tuple(int(part) for part in text.split("-"))


class Follower:
    def __init__(self, nodes, channel, last=None):
        self.nodes = nodes
        self.key = f"__history__:{channel}"
        self.last = last

    def messages(self):
        """Yields id and payload of each message, in order, for ever."""
        turn = 0
        while True:
            host, port = self.nodes[turn % len(self.nodes)]
            turn += 1
            try:
                client = redis.Redis(host, port, decode_responses=True, socket_connect_timeout=1)
                for id, payload in self.from_node(client):
                    if self.last is None or number(id) > number(self.last):
                        self.last = id
                        yield id, payload
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.1)  # The next node.

    def from_node(self, client):
        with client.pubsub() as live:
            live.subscribe(self.key)
            for message in live.listen():
                # The library subscribes again by itself when a connection breaks: that too is a beginning.
                if message["type"] == "subscribe":
                    yield from self.missed(client)
                elif message["type"] == "message":
                    yield message["data"].split(" ", 1)

    def missed(self, client):
        """Reads what was published since the last message."""
        while True:
            begin = "-" if self.last is None else f"({self.last}"
            try:
                entries = client.xrange(self.key, min=begin, count=1000)
            except redis.ResponseError as error:
                if not str(error).startswith("LAGGED first available id "):
                    raise
                # Some messages are gone for good: get the state from elsewhere, then go on from what is there.
                print("messages have been missed", file=sys.stderr)
                self.last = None
                continue
            yield from ((id, fields["message"]) for id, fields in entries)
            if len(entries) < 1000:
                return


if __name__ == "__main__":
    addresses = [address.rsplit(":", 1) for address in sys.argv[1].split(",")]
    follower = Follower([(host, int(port)) for host, port in addresses], *sys.argv[2:])
    for id, payload in follower.messages():
        print(id, payload, flush=True)
