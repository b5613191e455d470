"""Keys and sessions."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from celery_fleet.console.auth import Actor, Gate, Keys, read_keys
from celery_fleet.console.limits import Buckets

SESSION_KEY = "s" * 32


def entry(key: str, role: str = "viewer") -> dict[str, str]:
    return {"sha256": hashlib.sha256(key.encode()).hexdigest(), "role": role}


def gate(path: Path, **keys: dict[str, str]) -> Gate:
    path.write_text(json.dumps(keys))
    return Gate(Keys(path), SESSION_KEY, Buckets(0, 1))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        '{"ann": 1}',
        json.dumps({"ann": entry("k", "boss")}),
        '{"ann": {"sha256": "abc", "role": "viewer"}}',
    ],
)
def test_a_file_that_is_no_file_of_keys_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is no JSON|ann has no"):
        read_keys(text)


def test_a_key_is_known_by_its_digest_alone(tmp_path: Path) -> None:
    known = gate(tmp_path / "keys", ann=entry("secret", "operator"), vic=entry("other"))
    assert known.actor_of_key("secret", "c") == Actor("ann", "operator")
    assert known.actor_of_key("other", "c") == Actor("vic", "viewer")
    for wrong in ("", "secret ", entry("secret")["sha256"], "x" * 5000, "\ud800"):
        assert known.actor_of_key(wrong, "c") is None


def test_a_session_is_of_its_key_and_nobody_else_makes_one(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    known = gate(path, ann=entry("secret", "operator"))
    session = known.new_session("secret", "c")
    assert session
    cookie = known.cookie_of(session)
    assert known.session_of(cookie) == session
    assert known.session_of(cookie[:-2] + "xx") is None
    assert known.session_of("") is None
    assert Gate(Keys(path), "t" * 32, Buckets(0, 1)).session_of(cookie) is None
    assert gate(path, ann=entry("new secret", "operator")).session_of(cookie) is None
    demoted = gate(path, ann=entry("secret", "viewer")).session_of(cookie)
    assert demoted
    assert not demoted.actor.operator


def test_a_file_that_changes_is_read_again_and_a_wrong_one_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(json.dumps({"ann": entry("one")}))
    keys = Keys(path)

    def replace_by(text: str) -> None:
        new = tmp_path / "new"
        new.write_text(text)
        os.replace(new, path)  # noqa: PTH105 - as Ansible does
        keys._looked -= 10  # as if two seconds had passed

    replace_by(json.dumps({"ann": entry("two")}))
    assert keys.find("one") is None
    assert keys.find("two")
    replace_by("nonsense")
    assert keys.find("two")
    path.unlink()
    keys._looked -= 10
    assert keys.find("two")


def test_wrong_keys_use_up_what_their_sender_may_ask(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(json.dumps({"ann": entry("one")}))
    buckets = Buckets(10, 20, clock=lambda: 100.0)
    known = Gate(Keys(path), SESSION_KEY, buckets)
    for _ in range(3):
        known.actor_of_key("wrong", "10.0.0.1")
    assert buckets.take("10.0.0.1") > 0
    assert buckets.take("10.0.0.2") == 0


def test_a_short_session_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "session").write_text("short\n")
    with pytest.raises(ValueError, match="at least 32"):
        Gate.of(None, tmp_path / "session", Buckets(0, 1))
