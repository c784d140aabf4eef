"""redis-py, unmodified and with its own settings, in every way of the matrix: see conftest.py."""

import threading

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

MESSAGE = {"subscribe": "message", "psubscribe": "pmessage", "ssubscribe": "smessage"}


def client(way, protocol, node):
    return redis.Redis(**way.settings(node, protocol))


def receive(pubsub):
    message = pubsub.get_message(timeout=10)
    assert message, "nothing came"
    return message


@pytest.mark.parametrize("kind", MESSAGE)
def test_it_subscribes_on_one_node_and_publishes_on_another(way, protocol, kind):
    channels = [way.channel(protocol, f"{kind}.{n}") for n in range(2)]
    names = channels
    if kind == "psubscribe":
        # A user may listen to a pattern only as it was given to it.
        names = ["matrix.*"] if way.name == "user" else [f"{channels[0][:-1]}[0-9]"]
    pubsub = client(way, protocol, 2).pubsub()
    publisher = client(way, protocol, 1)
    for count, name in enumerate(names, 1):
        getattr(pubsub, kind)(name)
        assert receive(pubsub) == {"type": kind, "pattern": None, "channel": name, "data": count}
    publish = publisher.spublish if kind == "ssubscribe" else publisher.publish
    for channel in channels:
        assert publish(channel, "hello") == 1, "a confirmed subscriber is counted on all nodes"
        message = receive(pubsub)
        assert (message["type"], message["channel"], message["data"]) == (MESSAGE[kind], channel, "hello")
    unsubscribe = kind.replace("sub", "unsub")
    for name in names:
        getattr(pubsub, unsubscribe)(name)
        assert receive(pubsub)["type"] == unsubscribe
    assert publish(channels[0], "nobody") == 0
    assert pubsub.get_message(timeout=0) is None
    pubsub.close()


def test_what_one_exec_publishes_is_contiguous(way, protocol):
    first, second = (way.channel(protocol, f"exec.{n}") for n in range(2))
    pubsub = client(way, protocol, 3).pubsub()
    pubsub.subscribe(first, second)
    assert [receive(pubsub)["data"] for _ in range(2)] == [1, 2]
    rivals = [client(way, protocol, node) for node in (1, 2)]
    for _ in range(10):
        pipelines = [rival.pipeline(transaction=True) for rival in rivals]
        threads = []
        for number, pipeline in enumerate(pipelines):
            for channel in (first, second, first):
                pipeline.publish(channel, f"{number}")
            threads.append(threading.Thread(target=pipeline.execute))
        for thread in threads:
            thread.start()
        got = [receive(pubsub)["data"] for _ in range(6)]
        assert got in (list("000111"), list("111000"))
        for thread in threads:
            thread.join()
    with rivals[0].pipeline(transaction=True) as pipeline:
        assert pipeline.publish(first, "x").publish(second, "x").execute() == [1, 1]
    pubsub.close()


def test_counts_are_those_of_all_nodes(way, protocol):
    channel = way.channel(protocol, "counted")
    clients = [client(way, protocol, node) for node in (1, 2, 3)]
    pubsubs = [each.pubsub() for each in clients]
    for pubsub in pubsubs:
        pubsub.subscribe(channel)
        assert receive(pubsub)["data"] == 1
    for each in clients:
        assert each.publish(channel, "x") == 3
        assert each.pubsub_numsub(channel) == [(channel, 3)]
        assert each.pubsub_channels(channel) == [channel]
    for pubsub in pubsubs:
        pubsub.close()


def test_a_user_is_refused_what_it_may_not_use(ways, protocol):
    way = ways["user"]
    refused = client(way, protocol, 1)
    for command in [("PUBLISH", "elsewhere", "x"), ("SPUBLISH", "elsewhere", "x"), ("ACL", "LIST")]:
        with pytest.raises(redis.exceptions.NoPermissionError):
            refused.execute_command(*command)
    pubsub = client(way, protocol, 2).pubsub()
    for subscribe, name in [("subscribe", "elsewhere"), ("psubscribe", "*"), ("ssubscribe", "elsewhere")]:
        getattr(pubsub, subscribe)(name)
        with pytest.raises(redis.exceptions.NoPermissionError):
            pubsub.get_message(timeout=10)
    with pytest.raises(redis.AuthenticationError):
        # By itself redis-py tries a wrong password four times.
        redis.Redis(**{**way.settings(1, protocol), "password": "wrong"}, retry=Retry(NoBackoff(), 0)).ping()
    assert refused.publish(way.channel(protocol, "x"), "the connection is still good") == 0
