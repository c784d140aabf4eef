"""redis-py, unmodified, on three nodes."""

import threading

import pytest
import redis
from conftest import until

PIPELINED = 10_000

pytestmark = pytest.mark.parametrize("protocol", [2, 3])


def client(port, protocol):
    return redis.Redis(port=port, protocol=protocol, socket_timeout=10, decode_responses=True)


def subscribed(port, protocol, channel=None, pattern=None):
    pubsub = client(port, protocol).pubsub()
    if channel:
        pubsub.subscribe(channel)
    if pattern:
        pubsub.psubscribe(pattern)
    confirmation = pubsub.get_message(timeout=10)
    assert confirmation["type"] in ("subscribe", "psubscribe")
    assert confirmation["data"] == 1
    return pubsub


def receive(pubsub, count):
    messages = []
    while len(messages) < count:
        message = pubsub.get_message(timeout=30)
        assert message is not None, f"{len(messages)} of {count} messages came"
        messages.append(message)
    return messages


def test_handshake_names_the_server_and_the_protocol(cluster, protocol):
    for port in cluster.ports:
        connection = client(port, protocol)
        assert connection.ping()
        hello = connection.execute_command("HELLO", protocol)
        if isinstance(hello, list):
            hello = dict(zip(hello[::2], hello[1::2]))
        assert hello["server"] == "redis"
        assert hello["proto"] == protocol
        info = connection.info()
        assert info["redis_mode"] == "standalone"
        assert info["corgi_version"]


def test_a_message_reaches_channel_and_pattern_subscribers_on_every_node(cluster, protocol):
    channel = f"py.news.{protocol}"
    by_channel = [subscribed(port, protocol, channel=channel) for port in cluster.ports]
    by_pattern = [subscribed(port, protocol, pattern=f"py.*.{protocol}") for port in cluster.ports]
    for port in cluster.ports:
        client(port, protocol).publish(channel, f"from {port}")
    expected = [f"from {port}" for port in cluster.ports]
    for pubsub in by_channel:
        messages = receive(pubsub, 3)
        assert [message["data"] for message in messages] == expected
        assert {message["type"] for message in messages} == {"message"}
    for pubsub in by_pattern:
        messages = receive(pubsub, 3)
        assert [message["data"] for message in messages] == expected
        assert {message["pattern"] for message in messages} == {f"py.*.{protocol}"}


def test_publish_and_pubsub_count_the_subscribers_of_all_nodes(cluster, protocol):
    channel = f"py.counted.{protocol}"
    clients = [client(port, protocol) for port in cluster.ports]
    # The test before this one has left patterns, whose connections are being closed.
    for each in clients:
        until("no pattern is left", lambda each=each: each.pubsub_numpat() == 0)
    pubsubs = [subscribed(port, protocol, channel=channel) for port in cluster.ports]
    # Right after the confirmation, on the node that is asked least.
    pubsubs.append(subscribed(cluster.ports[0], protocol, pattern=f"{channel}*"))
    pubsubs.append(subscribed(cluster.ports[1], protocol, pattern=f"{channel}*"))
    for each in clients:
        assert each.publish(channel, "x") == 5
        assert each.publish(f"{channel}.more", "x") == 2
        assert each.pubsub_numsub(channel) == [(channel, 3)]
        assert each.pubsub_channels(f"{channel}*") == [channel]
        assert each.pubsub_numpat() == 1
    pubsubs[0].unsubscribe()
    while pubsubs[0].get_message(timeout=10)["type"] != "unsubscribe":
        pass
    assert [each.publish(channel, "x") for each in clients] == [4, 4, 4]
    for pubsub in pubsubs:
        pubsub.close()
    # A closed connection has nobody to be confirmed to.
    for each in clients:
        until("nobody is counted", lambda each=each: each.publish(channel, "x") == 0)


def test_ten_thousand_pipelined_messages_arrive_in_order_on_every_node(cluster, protocol):
    channel = f"py.pipelined.{protocol}"
    subscribers = [subscribed(port, protocol, channel=channel) for port in cluster.ports]
    pipeline = client(cluster.ports[protocol - 2], protocol).pipeline(transaction=False)
    for n in range(PIPELINED):
        pipeline.publish(channel, n)
    replies = pipeline.execute()
    assert len(replies) == PIPELINED
    for pubsub in subscribers:
        assert [int(message["data"]) for message in receive(pubsub, PIPELINED)] == list(range(PIPELINED))


def test_a_listening_thread_and_ping_while_subscribed(cluster, protocol):
    channel = f"py.thread.{protocol}"
    received = []
    pubsub = client(cluster.ports[0], protocol).pubsub()
    pubsub.subscribe(**{channel: lambda message: received.append(message["data"])})
    confirmed = threading.Event()

    def listen():
        for message in pubsub.listen():
            if message["type"] == "subscribe":
                confirmed.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert confirmed.wait(10)
    client(cluster.ports[1], protocol).publish(channel, "one")
    until("the handler is called", lambda: received == ["one"])
    pubsub.ping()
    client(cluster.ports[2], protocol).publish(channel, "two")
    until("the handler is called again", lambda: received == ["one", "two"])
    pubsub.unsubscribe()
    thread.join(10)
    assert not thread.is_alive(), "listen() ends with the last subscription"


def test_errors_become_the_librarys_exceptions(cluster, protocol):
    connection = client(cluster.ports[0], protocol)
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'publish' command"):
        connection.execute_command("PUBLISH", "only-a-channel")
    with pytest.raises(redis.ResponseError, match="unknown command 'NOSUCH'"):
        connection.execute_command("NOSUCH")
    assert connection.ping(), "the connection is still good"
