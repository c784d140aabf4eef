"""scripts/cluster does what the README's walk-through says, and docker-compose.yml describes the same nodes."""

import pathlib
import re
import subprocess

import redis
import yaml
from conftest import CLUSTER, ROOT, until

# What a container needs and loopback does not, and where the two cannot agree.
ONLY_IN_COMPOSE = {"bind", "protected-mode"}
PLACES = {"dir"}


def options_of_service(service):
    """The `--name value` pairs of a service's command."""
    words = service["command"]
    assert len(words) % 2 == 0
    names, values = words[::2], words[1::2]
    assert all(name.startswith("--") for name in names)
    return {name.removeprefix("--"): value for name, value in zip(names, values)}


def options_of_script(script_environment, number):
    text = subprocess.run(
        [CLUSTER, "config", str(number)], env=script_environment, check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split(" ", 1) for line in text.splitlines())


def without_hosts(members):
    return [re.sub(r"=[^:]*:", "=", member) for member in members.split(",")]


def test_compose_and_script_agree_on_options_and_ports(tmp_path):
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CORGI_CLUSTER_DIR": str(tmp_path)}
    assert list(compose["services"]) == ["corgi-1", "corgi-2", "corgi-3"]
    for number in (1, 2, 3):
        service = compose["services"][f"corgi-{number}"]
        ours, theirs = options_of_script(environment, number), options_of_service(service)
        assert set(theirs) - set(ours) == ONLY_IN_COMPOSE
        assert set(ours) <= set(theirs)
        for name in set(ours) - PLACES - {"initial-cluster"}:
            assert ours[name] == theirs[name], name
        assert without_hosts(ours["initial-cluster"]) == without_hosts(theirs["initial-cluster"])
        hosts = re.findall(r"=([^:]*):", theirs["initial-cluster"])
        assert hosts == list(compose["services"]), "service names are the peers' host names"
        port = ours["port"]
        assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert port in service["healthcheck"]["test"]
        assert service["volumes"] == [f"corgi-{number}:{theirs['dir']}"]
        assert service["secrets"][0]["source"] in compose["secrets"]
    assert set(compose["volumes"]) == set(compose["services"])


def test_dockerfile_builds_with_the_pinned_toolchain_and_not_as_root():
    dockerfile = (ROOT / "Dockerfile").read_text()
    toolchain = (ROOT / "rust-toolchain.toml").read_text()
    version = re.search(r'channel = "(.*)"', toolchain)[1]
    assert f"FROM rust:{version}-" in dockerfile
    user = re.search(r"^USER (.*)$", dockerfile, re.MULTILINE)
    assert user and user[1] != "root"
    copied = re.findall(r"^COPY --chmod=0755 (\S+)", dockerfile, re.MULTILINE)
    assert all((ROOT / pathlib.Path(name)).is_file() for name in copied)


def rows(cluster):
    lines = cluster.run("status").splitlines()
    return {int(fields[0]): fields for fields in (line.split() for line in lines[1:])}


def leaders(cluster):
    return [number for number, fields in rows(cluster).items() if fields[3] == "leader"]


def test_the_walk_through_kill_the_leader_and_go_on(cluster):
    assert len(leaders(cluster)) == 1
    subscribers = []
    for port in cluster.ports:
        pubsub = redis.Redis(port=port, decode_responses=True).pubsub()
        pubsub.subscribe("walk")
        assert pubsub.get_message(timeout=10)["type"] == "subscribe"
        subscribers.append(pubsub)
    killed = int(cluster.run("kill", "leader"))
    assert rows(cluster)[killed][3] == "stopped"
    alive = [port for number, port in enumerate(cluster.ports, 1) if number != killed]
    publisher = redis.Redis(port=alive[0], socket_timeout=10)

    def published():
        try:
            return publisher.publish("walk", "after the kill") is not None
        except redis.RedisError:
            return False

    until("a publish is acknowledged by the other two", published)
    for port, pubsub in zip(cluster.ports, subscribers):
        if port in alive:
            assert pubsub.get_message(timeout=10)["data"] == "after the kill"
    until("the other two have a leader", lambda: len(leaders(cluster)) == 1)
    assert leaders(cluster) != [killed]
    cluster.run("restart", str(killed))
    assert redis.Redis(port=cluster.ports[killed - 1], socket_timeout=10).publish("walk", "back") >= 0
    assert all(fields[3] in ("leader", "follower") for fields in rows(cluster).values())


def test_the_secret_is_for_its_owner_only(cluster):
    folder = pathlib.Path(cluster.environment["CORGI_CLUSTER_DIR"])
    for name in ("secret", "node1.conf", "node2.conf", "node3.conf"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name
