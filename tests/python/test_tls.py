"""redis-py, unmodified, by TLS on three nodes that talk TLS to each other: what the matrix does not have."""

import pytest
import redis
from conftest import PROTOCOLS, tls_settings
from redis.backoff import NoBackoff
from redis.retry import Retry


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_large_and_small_messages_reach_every_node_in_order(ways, protocol):
    clients = [redis.Redis(**ways["tls"].settings(node, protocol)) for node in (1, 2, 3)]
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


def test_without_a_certificate_nothing_is_said(tls_cluster):
    settings = {**tls_settings(tls_cluster), "ssl_certfile": None, "ssl_keyfile": None}
    with pytest.raises(redis.ConnectionError):
        # By itself redis-py tries four times.
        redis.Redis(port=tls_cluster.tls_ports[0], retry=Retry(NoBackoff(), 0), **settings).ping()
