"""The files of role redis, rendered from a plan and given to a real redis-server."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from templates.rendering import ROLES, evaluate, render, role_variables

PLAN = {
    "address": "10.9.0.2",
    "addresses": {"redis1": "10.9.0.2", "worker1": "10.9.0.3"},
    "redis_maxmemory": 256 * 2**20,
    "tls": False,
    "topology": {"queues": {"celery": {}, "email": {}}},
}
TRIAL = ROLES / "redis/files/redis-trial"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    return role_variables("redis") | {
        "celery_plan": PLAN,
        "inventory_dir": "/srv/fleet/production",
        "fleet_secrets_dir": str(tmp_path / "secrets"),
    }


def options(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))


def trial(directory: Path, conf: str, acl: str) -> subprocess.CompletedProcess[str]:
    (directory / "redis.conf").write_text(conf)
    (directory / "users.acl").write_text(acl)
    command = ["sh", str(TRIAL), str(directory / "redis.conf"), str(directory / "users.acl")]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_broker_that_keeps_what_it_accepted(variables: dict[str, Any]) -> None:
    conf = options(render("redis", "redis.conf.j2", variables))
    assert conf["maxmemory"] == str(256 * 2**20)
    assert conf["maxmemory-policy"] == "noeviction"
    assert conf["appendonly"] == "yes"
    assert conf["appendfsync"] == "everysec"
    assert conf["save"] == '""'
    assert conf["protected-mode"] == "yes"


def test_it_listens_on_loopback_and_in_the_fleet(variables: dict[str, Any]) -> None:
    assert options(render("redis", "redis.conf.j2", variables))["bind"] == "127.0.0.1 -::1 10.9.0.2"
    variables["celery_plan"] = PLAN | {"address": "127.0.0.1"}
    assert options(render("redis", "redis.conf.j2", variables))["bind"] == "127.0.0.1 -::1"


def ports(variables: dict[str, Any], conf: str = "", **more: Any) -> dict[str, str]:
    """Of the configuration that follows one that a host has."""
    now = base64.b64encode(conf.encode()).decode()
    written = options(
        render("redis", "redis.conf.j2", {**variables, "__redis_conf": {"content": now}, **more})
    )
    return {name: written[name] for name in ("port", "tls-port") if name in written}


@pytest.mark.parametrize("tls", [False, True])
def test_what_was_open_stays_so_until_everybody_has_moved(variables: dict[str, Any], tls: bool) -> None:
    before = render("redis", "redis.conf.j2", variables | {"celery_plan": PLAN | {"tls": not tls}})
    variables["celery_plan"] = PLAN | {"tls": tls}
    alone = {"port": "0", "tls-port": "6380"} if tls else {"port": "6379"}
    assert ports(variables, before) == {"port": "6379", "tls-port": "6380"}
    assert ports(variables, before, redis_moving=False) == alone
    assert ports(variables, render("redis", "redis.conf.j2", variables)) == alone
    # Debian's own configuration, and none
    assert ports(variables, "port 6379\n") == alone
    assert ports(variables) == alone


def test_the_port_in_clear_may_stay_beside_tls(variables: dict[str, Any]) -> None:
    variables |= {"celery_plan": PLAN | {"tls": True}, "redis_plaintext": True}
    assert ports(variables, redis_moving=False) == {"port": "6379", "tls-port": "6380"}


def test_options_of_the_inventory_come_last(variables: dict[str, Any]) -> None:
    limits = ["normal 0 0 0", "pubsub 1mb 1mb 10"]
    variables["redis_extra_config"] = {"hz": 20, "timeout": 9, "client-output-buffer-limit": limits}
    lines = render("redis", "redis.conf.j2", variables).splitlines()
    assert "hz 20" in lines
    assert "timeout 9" in lines
    assert "timeout 0" not in lines
    assert [line for line in lines if line.startswith("client-output")] == [
        f"client-output-buffer-limit {limit}" for limit in limits
    ]


@pytest.mark.parametrize(("maxmemory", "limit"), [(2**30, 3 * 2**29), (64 * 2**20, 192 * 2**20)])
def test_memory_limit(variables: dict[str, Any], maxmemory: int, limit: int) -> None:
    variables["celery_plan"] = PLAN | {"redis_maxmemory": maxmemory}
    assert f"MemoryMax={limit}\n" in render("redis", "redis.slice.j2", variables)


def test_what_changes_live_is_not_in_the_unit(variables: dict[str, Any]) -> None:
    """A drop-in that changes means a restart."""
    before = render("redis", "redis-server.service.conf.j2", variables)
    variables |= {"celery_plan": PLAN | {"redis_maxmemory": 2**30}, "redis_maxclients": 20000}
    assert render("redis", "redis-server.service.conf.j2", variables) == before


def test_users_have_hashes_of_passwords_that_stay_the_same(variables: dict[str, Any], tmp_path: Path) -> None:
    acl = render("redis", "users.acl.j2", variables)
    assert acl == render("redis", "users.acl.j2", variables)
    users = evaluate("redis_users", variables)
    assert set(users) == {
        "admin",
        "worker",
        "client",
        "beat",
        "console",
        "flower",
        "exporter",
        "celery_exporter",
    }
    for name, user in users.items():
        password = (tmp_path / "secrets" / f"redis-{name}").read_text().split()[0]
        assert re.fullmatch("[A-Za-z0-9]{40}", password)
        assert user["password"] == password
        assert password not in acl
        assert f"user {name} on #{hashlib.sha256(password.encode()).hexdigest()} " in acl
    assert len({user["password"] for user in users.values()}) == len(users)
    assert (tmp_path / "secrets" / "redis-admin").stat().st_mode & 0o777 == 0o600


def test_nobody_is_default(variables: dict[str, Any]) -> None:
    assert render("redis", "users.acl.j2", variables).startswith("user default off resetpass ")


def test_a_worker_has_the_keys_of_its_queues_and_their_priorities(variables: dict[str, Any]) -> None:
    rules = evaluate("redis_users.worker.rules", variables)
    assert {"~celery", "~celery??[0-9]", "~email", "~email??[0-9]"} <= set(rules)
    assert "~*" not in rules


def test_users_and_rules_of_the_inventory(variables: dict[str, Any]) -> None:
    variables["redis_acl_extra"] = {"worker": ["~cache:*"], "report": ["~x", "+get"]}
    users = evaluate("redis_users", variables)
    assert users["worker"]["rules"][-1] == "~cache:*"
    assert users["report"]["rules"] == ["-@all", "~x", "+get"]
    assert len(users["report"]["password"]) == 40


def test_secrets_stay_outside_of_the_repository(variables: dict[str, Any]) -> None:
    del variables["fleet_secrets_dir"]
    assert evaluate("redis_secrets_dir", variables) == "~/.local/share/celery-fleet/production/secrets"


class TestTrial:
    """What stands between a rendered file and a running server."""

    def test_a_server_takes_the_files(self, variables: dict[str, Any], tmp_path: Path) -> None:
        conf, acl = (render("redis", name, variables) for name in ("redis.conf.j2", "users.acl.j2"))
        run = trial(tmp_path, conf, acl)
        assert run.returncode == 0, run.stderr

    @pytest.mark.parametrize(
        ("extra", "word"),
        [
            ({"maxmemory-policy": "some"}, "argument(s) must be one of"),
            ({"no-such-option": "1"}, "Bad directive"),
            ({"databases": "none"}, "argument couldn't be parsed into an integer"),
        ],
    )
    def test_it_refuses_bad_options(
        self, variables: dict[str, Any], tmp_path: Path, extra: dict[str, str], word: str
    ) -> None:
        acl = render("redis", "users.acl.j2", variables)
        run = trial(
            tmp_path, render("redis", "redis.conf.j2", variables | {"redis_extra_config": extra}), acl
        )
        assert run.returncode == 1
        assert word in run.stderr

    def test_it_refuses_bad_rules(self, variables: dict[str, Any], tmp_path: Path) -> None:
        conf = render("redis", "redis.conf.j2", variables)
        variables["redis_acl_extra"] = {"worker": ["+nosuchcommand"]}
        run = trial(tmp_path, conf, render("redis", "users.acl.j2", variables))
        assert run.returncode == 1
        assert "nosuchcommand" in run.stderr

    def test_it_leaves_nothing_behind(self, variables: dict[str, Any], tmp_path: Path) -> None:
        place = tmp_path / "tmp"
        place.mkdir()
        conf, acl = (render("redis", name, variables) for name in ("redis.conf.j2", "users.acl.j2"))
        (tmp_path / "redis.conf").write_text(conf)
        (tmp_path / "users.acl").write_text(acl)
        command = ["env", f"TMPDIR={place}", "sh", TRIAL, tmp_path / "redis.conf", tmp_path / "users.acl"]
        subprocess.run(command, check=True, timeout=30)
        assert list(place.iterdir()) == []
