"""redis-cli at a terminal: what a person types and sees."""

import os
import pty
import re
import subprocess

import pytest
from conftest import PASSWORD, USER, until


class Terminal:
    """redis-cli that believes that a person sits before it."""

    def __init__(self, way, protocol, node):
        command = ["redis-cli", f"-{protocol}", "-p", str(way.ports[node - 1])]
        if way.name == "tls":
            files = way.cluster.certificates
            command += ["-h", "localhost", "--tls", "--cacert", files / "ca.crt"]
            command += ["--cert", files / "client.crt", "--key", files / "client.key"]
        if way.name == "user":
            command += ["--user", USER, "--no-auth-warning", "--pass", PASSWORD]
        self.screen, inner = pty.openpty()
        os.set_blocking(self.screen, False)
        # A terminal that cannot do much, so that what it is sent can be read.
        environment = {**os.environ, "TERM": "dumb", "HOME": "/nowhere"}
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, env=environment, start_new_session=True
        )
        os.close(inner)
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.screen)

    def type(self, line):
        os.write(self.screen, line.encode() + b"\r")

    def read(self):
        try:
            self.shown += os.read(self.screen, 65536).decode().replace("\r", "")
        except BlockingIOError:
            pass
        return self.shown

    def shows(self, pattern):
        """Waits until the screen shows `pattern`, and forgets it with all that was before it."""
        try:
            found = until(f"redis-cli shows {pattern}", lambda: re.search(pattern, self.read()))
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows {self.shown!r}") from None
        self.shown = self.shown[found.end():]


def entry(*lines):
    """What redis-cli shows of an array or a push of strings and integers."""
    shown = [line if line.startswith("\\(") else f'"{re.escape(line)}"' for line in lines]
    return "\n".join(f"{n}\\) {line}" for n, line in enumerate(shown, 1))


@pytest.mark.parametrize("kind", ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"])
def test_a_person_subscribes_and_another_publishes(way, protocol, kind):
    channel = way.channel(protocol, f"cli.{kind}")
    name = "matrix.*" if kind == "PSUBSCRIBE" else channel
    publish = "SPUBLISH" if kind == "SSUBSCRIBE" else "PUBLISH"
    message = {
        "SUBSCRIBE": ["message", channel, "hello"],
        "PSUBSCRIBE": ["pmessage", name, channel, "hello"],
        "SSUBSCRIBE": ["smessage", channel, "hello"],
    }[kind]
    with Terminal(way, protocol, 1) as listener, Terminal(way, protocol, 2) as publisher:
        listener.shows("> ")
        listener.type(f"{kind} {name}")
        listener.shows("Reading messages")
        listener.shows(entry(kind.lower(), name, r"\(integer\) 1"))
        publisher.shows("> ")
        publisher.type(f"{publish} {channel} hello")
        publisher.shows(r"\(integer\) 1\n")
        listener.shows(entry(*message))
        publisher.type("MULTI")
        publisher.shows("OK\n")
        publisher.type(f"{publish} {channel} again")
        publisher.shows("QUEUED\n")
        publisher.type("EXEC")
        publisher.shows(r"1\) \(integer\) 1\n")
        listener.shows(entry(*message[:-1], "again"))


def test_a_user_is_told_what_it_may_not_do(ways, protocol):
    with Terminal(ways["user"], protocol, 3) as cli:
        for command in ["SUBSCRIBE elsewhere", "PUBLISH elsewhere x", "PSUBSCRIBE *"]:
            cli.type(command)
            cli.shows(r"\(error\) NOPERM No permissions to access a channel")
