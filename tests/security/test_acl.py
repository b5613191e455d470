"""Redis refused nobody of the fleet anything, in all that ran since it started: its users have the rights that they need."""

from __future__ import annotations

import shlex

from testinfra.host import Host

from hosts import Fleet

SOCKET = "/run/redis/redis-server.sock"


def ask(host: Host, *words: str) -> str:
    command = f"redis-cli -s {SOCKET} --user admin {shlex.join(words)}"
    answer: str = host.check_output("REDISCLI_AUTH=$(cat /etc/redis/admin.password) " + command)
    return answer


def denials(text: str) -> list[dict[str, str]]:
    """The entries of ACL LOG, as redis-cli prints them when it is not at a terminal: a name and its value, line by line."""
    lines = text.split("\n") if text else []
    entries: list[dict[str, str]] = []
    for key, value in zip(lines[::2], lines[1::2], strict=True):
        if key == "count":
            entries.append({})
        entries[-1][key] = value
    return entries


def test_the_log_of_refusals_is_empty(fleet: Fleet) -> None:
    host = fleet.host(fleet.groups["redis"][0])
    found = denials(ask(host, "ACL", "LOG", "128"))
    # Others come without a password, or with a wrong one, on purpose.
    wrong = [entry for entry in found if entry["reason"] != "auth"]
    assert wrong == []


def test_a_refusal_is_seen(fleet: Fleet) -> None:
    """Else it would prove nothing that there are none."""
    host = fleet.host(fleet.groups["redis"][0])
    # The password stays off the command line.
    host.run(
        ". /etc/default/prometheus-redis-exporter;"
        f" REDISCLI_AUTH=$REDIS_PASSWORD redis-cli -s {SOCKET} --no-auth-warning --user exporter SET celery 1"
    )
    found = denials(ask(host, "ACL", "LOG", "1"))
    assert (found[0]["reason"], found[0]["object"], found[0]["username"]) == ("command", "set", "exporter")
    ask(host, "ACL", "LOG", "RESET")
