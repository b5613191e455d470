"""The sockets of the console's service."""

from __future__ import annotations

import pytest

from celery_fleet.console.serve import CannotServe, listening_sockets, shown


def test_of_a_list() -> None:
    sockets = listening_sockets({"CONSOLE_LISTEN": "127.0.0.1:0, 127.0.0.1:0"}, 1)
    names = [each.getsockname() for each in sockets]
    assert shown(sockets) == ", ".join(f"127.0.0.1:{name[1]}" for name in names)
    for each in sockets:
        each.close()


@pytest.mark.parametrize("text", ["", "8000", "localhost:", "127.0.0.1:http", "203.0.113.1:80"])
def test_none(text: str) -> None:
    with pytest.raises(CannotServe):
        listening_sockets({"CONSOLE_LISTEN": text}, 1)


def test_those_of_another_process_are_not_taken() -> None:
    with pytest.raises(CannotServe, match="there is no socket"):
        listening_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, 2)
