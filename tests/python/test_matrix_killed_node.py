"""redis-py's subscribers, of threads and of asyncio, when the node that they listen to is killed and comes back."""

import asyncio
import threading

import redis
import redis.asyncio
from conftest import PROTOCOLS, until

CHANNEL = "matrix.again"


class Listener:
    """Listens on a thread as a program would that goes on when the library has given up."""

    def __init__(self, settings):
        self.settings = settings
        self.received = []
        self.stopped = False
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        pubsub = redis.Redis(**self.settings).pubsub()
        pubsub.subscribe(CHANNEL)
        while not self.stopped:
            try:
                self.note(pubsub.get_message(timeout=1))
            except redis.ConnectionError:
                continue
        pubsub.close()

    def note(self, message):
        if message and message["type"] == "message":
            self.received.append(message["data"])

    def stop(self):
        self.stopped = True
        self.thread.join()


class AsyncListener(Listener):
    """The same with asyncio."""

    def listen(self):
        asyncio.run(self.listen_in_loop())

    async def listen_in_loop(self):
        async with redis.asyncio.Redis(**self.settings) as client, client.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            while not self.stopped:
                try:
                    self.note(await pubsub.get_message(timeout=1))
                except redis.ConnectionError:
                    continue


def test_they_subscribe_again_by_themselves(ways, tls_cluster):
    publisher = redis.Redis(**ways["plain"].settings(1, PROTOCOLS[0]))
    settings = [way.settings(3, protocol) for way in ways.values() for protocol in PROTOCOLS]
    listeners = [kind(each) for kind in (Listener, AsyncListener) for each in settings]

    def all_are_counted():
        return publisher.pubsub_numsub(CHANNEL) == [(CHANNEL, len(listeners))]

    def all_have(payloads):
        until(f"all have {payloads}", lambda: all(listener.received == payloads for listener in listeners))

    until("all listen", all_are_counted)
    assert publisher.publish(CHANNEL, "before") == len(listeners)
    all_have(["before"])
    tls_cluster.run("kill", "3")
    until("its subscribers are counted no more", lambda: publisher.publish(CHANNEL, "while") == 0)
    tls_cluster.run("restart", "3")
    until("all listen again", all_are_counted)
    assert publisher.publish(CHANNEL, "after") == len(listeners)
    all_have(["before", "after"])
    for listener in listeners:
        listener.stop()
