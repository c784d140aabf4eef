"""Clusters of three real nodes, started once for all tests with scripts/cluster, on ports of their own.

`way` and `protocol` are what every client is tested with: on the plain port, by TLS, and as a user with a password who
may use channels of one pattern, each in RESP2 and RESP3. Publishers and subscribers are on different nodes.
"""

import os
import pathlib
import socket
import subprocess
import time

import pytest
import redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "scripts" / "cluster"


def base_port(plus=()):
    """Returns a base port such that the three nodes' client and peer ports, and those higher by `plus`, are free.

    They lie below the range from which the kernel gives ports to clients, and outside of the one of the Rust tests.
    """
    first = 12000 + os.getpid() % 39 * 100
    for base in range(first, first + 100, 4):
        ports = [base + n + more for n in (1, 2, 3) for more in (0, 10000, *plus)]
        if all(is_free(port) for port in ports):
            return base
    raise RuntimeError(f"no free ports above {first}")


def is_free(port):
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Cluster:
    """The nodes' ports, and the commands of scripts/cluster."""

    def __init__(self, folder, tls=False):
        self.base = base_port([500] if tls else [])
        self.certificates = folder / "certificates"
        self.environment = {
            **os.environ,
            "CORGI_CLUSTER_DIR": str(folder),
            "CORGI_BASE_PORT": str(self.base),
            "CORGI_TLS": "yes" if tls else "no",
        }
        self.ports = [self.base + n for n in (1, 2, 3)]
        self.tls_ports = [port + 500 for port in self.ports] if tls else []

    def run(self, *args):
        done = subprocess.run(
            [CLUSTER, *args], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, f"scripts/cluster {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout


def started(cluster):
    try:
        cluster.run("start")
        yield cluster
    finally:
        cluster.run("stop")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    yield from started(Cluster(tmp_path_factory.mktemp("cluster")))


@pytest.fixture(scope="session")
def tls_cluster(tmp_path_factory):
    yield from started(Cluster(tmp_path_factory.mktemp("tls-cluster"), tls=True))


USER = "alice"
PASSWORD = "a secret of the tests"
# What a client needs that only sends messages, on channels of one pattern.
RULES = ["on", f">{PASSWORD}", "resetchannels", "&matrix.*", "+@pubsub", "+@transaction", "+@connection"]

WAYS = ["plain", "tls", "user"]
PROTOCOLS = [2, 3]


class Way:
    """How clients come to the nodes."""

    def __init__(self, name, cluster):
        self.name = name
        self.cluster = cluster
        self.ports = cluster.tls_ports if name == "tls" else cluster.ports

    def settings(self, node, protocol):
        """What redis-py must be told to connect to a node, and nothing besides."""
        settings = {"port": self.ports[node - 1], "protocol": protocol, "decode_responses": True}
        if self.name == "tls":
            settings.update(tls_settings(self.cluster))
        if self.name == "user":
            settings.update(username=USER, password=PASSWORD)
        return settings

    def channel(self, protocol, name):
        return f"matrix.{self.name}.{protocol}.{name}"


def tls_settings(cluster):
    files = cluster.certificates
    return {
        "ssl": True,
        "ssl_ca_certs": str(files / "ca.crt"),
        "ssl_certfile": str(files / "client.crt"),
        "ssl_keyfile": str(files / "client.key"),
    }


@pytest.fixture(scope="session")
def ways(tls_cluster):
    admin = redis.Redis(port=tls_cluster.ports[0])
    assert admin.execute_command("ACL", "SETUSER", USER, *RULES)
    for port in tls_cluster.ports:
        asked = redis.Redis(port=port)
        until("the node knows the user", lambda asked=asked: USER in asked.acl_users())
    return {name: Way(name, tls_cluster) for name in WAYS}


@pytest.fixture(params=WAYS)
def way(request, ways):
    return ways[request.param]


@pytest.fixture(params=PROTOCOLS, ids=lambda protocol: f"resp{protocol}")
def protocol(request):
    return request.param


def until(what, probe, seconds=30):
    """Asks `probe` until it gives something true, and returns that; fails naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := probe()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)
    return value
