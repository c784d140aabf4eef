"""docs/examples/catch_up.py, which follows a channel while the node that it is on is killed and comes back."""

import subprocess
import sys
import threading

import redis
from conftest import ROOT, until

CHANNEL = "catch.up"
PROGRAM = ROOT / "docs" / "examples" / "catch_up.py"


def test_nothing_is_missed_and_nothing_comes_twice(cluster):
    # The program goes to the nodes in this order.
    addresses = ",".join(f"127.0.0.1:{cluster.ports[n - 1]}" for n in (3, 2, 1))
    publisher = redis.Redis(port=cluster.ports[0])
    published = []

    def publish(count):
        for _ in range(count):
            payload = f"message {len(published)}"
            publisher.publish(CHANNEL, payload)
            published.append(payload)

    publish(10)
    follower = subprocess.Popen(
        [sys.executable, PROGRAM, addresses, CHANNEL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(follower.stdout), daemon=True)
    reader.start()

    def all_have_come():
        return [line.split(" ", 1)[1].rstrip("\n") for line in lines] == published

    try:
        until("what was there before has come", all_have_come)
        publish(100)
        cluster.run("kill", "3")
        publish(100)
        until("all have come from another node", all_have_come)
        cluster.run("restart", "3")
        cluster.run("kill", "2")
        publish(100)
        until("all have come from yet another node", all_have_come)
        cluster.run("restart", "2")
        publish(10)
        until("all have come", all_have_come)
        ids = [tuple(map(int, line.split(" ", 1)[0].split("-"))) for line in lines]
        assert ids == sorted(set(ids))
    finally:
        follower.kill()
        follower.wait()
