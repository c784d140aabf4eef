"""redis-py's asyncio side, unmodified and with its own settings, in every way of the matrix: see conftest.py."""

import asyncio

import pytest
import redis.asyncio

MESSAGE = {"subscribe": "message", "psubscribe": "pmessage", "ssubscribe": "smessage"}


def client(way, protocol, node):
    return redis.asyncio.Redis(**way.settings(node, protocol))


async def receive(pubsub):
    message = await pubsub.get_message(timeout=10)
    assert message, "nothing came"
    return message


def test_it_subscribes_on_one_node_and_publishes_on_another(way, protocol):
    async def talk():
        async with client(way, protocol, 3) as publisher, client(way, protocol, 2) as other:
            for kind in MESSAGE:
                async with other.pubsub() as pubsub:
                    await use(kind, pubsub, publisher)

    async def use(kind, pubsub, publisher):
        channel = way.channel(protocol, f"async.{kind}")
        name = "matrix.*" if kind == "psubscribe" else channel
        await getattr(pubsub, kind)(name)
        assert await receive(pubsub) == {"type": kind, "pattern": None, "channel": name, "data": 1}
        publish = publisher.spublish if kind == "ssubscribe" else publisher.publish
        assert await publish(channel, "hello") == 1
        message = await receive(pubsub)
        assert (message["type"], message["channel"], message["data"]) == (MESSAGE[kind], channel, "hello")
        unsubscribe = kind.replace("sub", "unsub")
        await getattr(pubsub, unsubscribe)(name)
        assert (await receive(pubsub))["type"] == unsubscribe
        assert await publish(channel, "nobody") == 0

    asyncio.run(talk())


def test_a_transaction_and_counts(way, protocol):
    async def talk():
        first, second = (way.channel(protocol, f"async.exec.{n}") for n in range(2))
        async with client(way, protocol, 1) as publisher, client(way, protocol, 3) as other:
            async with other.pubsub() as pubsub:
                await pubsub.subscribe(first, second)
                assert [(await receive(pubsub))["data"] for _ in range(2)] == [1, 2]
                async with publisher.pipeline(transaction=True) as pipeline:
                    pipeline.publish(first, "1").publish(second, "2").publish(first, "3")
                    assert await pipeline.execute() == [1, 1, 1]
                assert [(await receive(pubsub))["data"] for _ in range(3)] == ["1", "2", "3"]
                assert await publisher.pubsub_numsub(first, second) == [(first, 1), (second, 1)]
                assert await publisher.pubsub_channels(first) == [first]

    asyncio.run(talk())


def test_a_user_is_refused_what_it_may_not_use(ways, protocol):
    async def talk():
        way = ways["user"]
        async with client(way, protocol, 1) as refused, client(way, protocol, 2) as other:
            with pytest.raises(redis.exceptions.NoPermissionError):
                await refused.publish("elsewhere", "x")
            assert await refused.publish(way.channel(protocol, "x"), "the connection is still good") == 0
            async with other.pubsub() as pubsub:
                await pubsub.subscribe("elsewhere")
                with pytest.raises(redis.exceptions.NoPermissionError):
                    await pubsub.get_message(timeout=10)

    asyncio.run(talk())
