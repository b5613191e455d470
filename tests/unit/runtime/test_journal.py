"""The datagrams of the journal."""

import logging
import socket

import pytest

from celery_fleet.service.journal import JournalHandler, cut, datagram, priority
from unit.runtime.journal_reader import read


@pytest.fixture
def journal(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.settimeout(2)
        yield sock


def logger(handler):
    handler.setFormatter(logging.Formatter("%(message)s"))
    made = logging.Logger("some.logger")
    made.addHandler(handler)
    return made


def test_fields_and_what_is_left_out():
    assert read(datagram({"MESSAGE": "a\nb=c", "TASK_ID": "x", "RETRIES": 0, "QUEUE": None, "POOL": ""})) == {
        "MESSAGE": "a\nb=c",
        "TASK_ID": "x",
        "RETRIES": "0",
    }


def test_text_that_no_encoding_takes_does_not_raise():
    assert read(datagram({"MESSAGE": "\udcff é"}))["MESSAGE"] == "? é"


@pytest.mark.parametrize("name", ["task_id", "TASK-ID", "_PID", "1A", ""])
def test_names_that_the_journal_would_drop_are_refused(name):
    with pytest.raises(ValueError, match="field"):
        datagram({name: "x"})


def test_big_values_are_cut():
    fields = read(datagram({"MESSAGE": "m" * 1_000_000, "TASK_NAME": "n" * 5000}))
    assert len(fields["MESSAGE"]) < 50_000
    assert fields["MESSAGE"].endswith("characters cut)")
    assert len(fields["TASK_NAME"]) < 1100
    assert cut("short", 10) == "short"


@pytest.mark.parametrize(("level", "number"), [(50, 2), (40, 3), (30, 4), (20, 6), (10, 7), (25, 6)])
def test_priorities(level, number):
    assert priority(level) == number


def test_a_record_is_a_datagram(journal):
    handler = JournalHandler(lambda _: {"TASK_ID": "t1"}, journal.getsockname())
    logger(handler).warning("hello %s", "you")
    handler.close()
    fields = read(journal.recv(65536))
    assert {name: fields[name] for name in ("MESSAGE", "PRIORITY", "TASK_ID", "LOGGER")} == {
        "MESSAGE": "hello you",
        "PRIORITY": "4",
        "TASK_ID": "t1",
        "LOGGER": "some.logger",
    }
    assert fields["CODE_FUNC"] == "test_a_record_is_a_datagram"


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


def test_what_the_journal_does_not_take_goes_to_the_fallback(tmp_path):
    kept = Kept()
    handler = JournalHandler(lambda _: {}, tmp_path / "nobody", fallback=kept)
    logger(handler).error("lost?")
    handler.close()
    assert [record.getMessage() for record in kept.records] == ["lost?"]


def test_it_never_raises(journal):
    handler = JournalHandler(lambda _: 1 / 0, journal.getsockname())
    logger(handler).error("x")
    handler.close()


def test_a_restarted_journal_is_found_again(tmp_path):
    path = tmp_path / "journal"
    handler = JournalHandler(lambda _: {}, path)
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(path))
            sock.settimeout(2)
            logger(handler).info("here")
            assert read(sock.recv(65536))["MESSAGE"] == "here"
        path.unlink()
    handler.close()
