"""redis-py, unmodified, by TLS on three nodes that talk TLS to each other."""

import asyncio

import pytest
import redis
import redis.asyncio

PROTOCOLS = [2, 3]


def settings(cluster, **more):
    files = cluster.certificates
    return {
        "ssl": True,
        "ssl_ca_certs": str(files / "ca.crt"),
        "ssl_certfile": str(files / "client.crt"),
        "ssl_keyfile": str(files / "client.key"),
        "socket_timeout": 10,
        "decode_responses": True,
        **more,
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_messages_reach_every_node(tls_cluster, protocol):
    clients = [redis.Redis(port=port, **settings(tls_cluster, protocol=protocol)) for port in tls_cluster.tls_ports]
    listeners = [client.pubsub() for client in clients]
    for listener in listeners:
        listener.subscribe("py.tls")
        assert listener.get_message(timeout=10)["data"] == 1
    payloads = ["x" * 1_000_000, *(str(n) for n in range(100))]
    pipeline = clients[0].pipeline(transaction=False)
    for payload in payloads:
        pipeline.publish("py.tls", payload)
    assert len(pipeline.execute()) == len(payloads)
    for listener in listeners:
        assert [listener.get_message(timeout=30)["data"] for _ in payloads] == payloads


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_asyncio_talks_tls_too(tls_cluster, protocol):
    async def talk():
        port = tls_cluster.tls_ports[1]
        async with redis.asyncio.Redis(port=port, **settings(tls_cluster, protocol=protocol)) as client:
            async with client.pubsub() as listener:
                await listener.subscribe("py.tls.async")
                assert (await listener.get_message(timeout=10))["data"] == 1
                await client.publish("py.tls.async", "hello")
                return (await listener.get_message(timeout=10))["data"]

    assert asyncio.run(talk()) == "hello"


def test_without_a_certificate_nothing_is_said(tls_cluster):
    client = redis.Redis(
        port=tls_cluster.tls_ports[0], **settings(tls_cluster, ssl_certfile=None, ssl_keyfile=None)
    )
    with pytest.raises(redis.ConnectionError):
        client.ping()
