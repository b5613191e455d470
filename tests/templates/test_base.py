"""Certificates that the owner of a fleet gives: used as they are, and refused when they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from integration.support import certify
from templates.rendering import evaluate, role_variables

PLAN: dict[str, Any] = {"address": "10.9.0.2", "tls": True, "hosts": {"edge": []}}
PASSED_TO = {"celery_plan": PLAN | {"hosts": {"edge": ["edge1"]}}}


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Variables of a host with files that fit."""
    certify(tmp_path / "own.pem", "IP:10.9.0.2")
    return role_variables("base") | {
        "celery_plan": PLAN,
        "inventory_hostname": "redis1",
        "group_names": ["redis"],
        "inventory_dir": str(tmp_path),
        "fleet_secrets_dir": str(tmp_path / "secrets"),
        "base_tls_authority": str(tmp_path / "own.pem"),
        "base_tls_certificate": str(tmp_path / "own.pem"),
        "base_tls_key": str(tmp_path / "own.key"),
    }


def problem(variables: dict[str, Any]) -> str:
    return str(evaluate("__base_given_problem", variables) or "")


def test_what_is_given_is_used(given: dict[str, Any]) -> None:
    assert problem(given) == ""
    assert evaluate("__base_certificate_is_good and __base_authority_is_good", given), "nothing is made"
    assert evaluate("base_certificate.key", given) == given["base_tls_key"]
    assert evaluate("base_trusted", given).strip() == Path(given["base_tls_authority"]).read_text().strip()


@pytest.mark.parametrize("address", ["127.0.0.1", "10.9.0.2", "0.0.0.0", "[::]"])
def test_prometheus_needs_no_further_name_where_its_host_is_known(
    given: dict[str, Any], address: str
) -> None:
    watching = {"group_names": ["monitoring"], "monitoring_prometheus_address": address}
    assert problem(given | watching) == ""
    named = {"IP:10.9.0.2", "DNS:redis1"}
    assert set(evaluate("__base_certificate_names", given | watching)) == named


@pytest.mark.parametrize(
    "own",
    [
        {"group_names": ["console", "flower", "monitoring", "tracing"]},
        {"group_names": ["console"], "console_listen": ["127.0.0.1:8000", "[::1]:8000"]},
        {"group_names": ["tracing"], "tracing_address": "10.9.0.2"},
        {"console_listen": ["10.8.0.2:8000"], "flower_address": "10.8.0.2"},
    ],
)
def test_an_edge_asks_no_name_of_who_is_on_loopback_or_not_there(
    given: dict[str, Any], own: dict[str, Any]
) -> None:
    assert problem(given | PASSED_TO | own) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base_tls_key": ""}, "base_tls_key of redis1 is not set"),
        (
            {"base_tls_certificate": "/nowhere.pem"},
            "base_tls_certificate of redis1: there is no file /nowhere.pem",
        ),
        ({"base_tls_key": "other.key"}, "other.key is not the key of"),
        ({"celery_plan": PLAN | {"address": "10.9.0.9"}}, "it needs a subjectAltName IP:10.9.0.9"),
        (
            {"group_names": ["monitoring"], "monitoring_prometheus_address": "10.8.0.2"},
            "does not name 10.8.0.2, where the fleet reaches redis1: it needs a subjectAltName IP:10.8.0.2",
        ),
        (
            {"group_names": ["console"], "console_listen": ["127.0.0.1:8000", "10.8.0.2:8000"]},
            "it needs a subjectAltName IP:10.8.0.2",
        ),
        # nginx of another host passes requests to it, and knows it by its name.
        (PASSED_TO | {"group_names": ["console"], "console_listen": ["10.9.0.2:8000"]}, "DNS:redis1"),
        (PASSED_TO | {"group_names": ["flower"], "flower_address": "0.0.0.0"}, "DNS:redis1"),
        ({"group_names": ["tracing"], "tracing_ui_address": "fd00::2"}, "IP:fd00::2"),
    ],
)
def test_what_does_not_fit_is_refused(
    given: dict[str, Any], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    if changes.get("base_tls_key"):
        certify(tmp_path / "other.pem")
        changes = {"base_tls_key": str(tmp_path / changes["base_tls_key"])}
    assert told in problem(given | changes)


def test_a_key_that_is_lost_takes_its_certificate_with_it(given: dict[str, Any], tmp_path: Path) -> None:
    """Else a new key would stand beside the certificate of the old one."""
    own = given | dict.fromkeys(("base_tls_authority", "base_tls_certificate", "base_tls_key"), "")
    place = tmp_path / "secrets" / "certificates"
    place.mkdir(parents=True)
    certify(place / "authority.pem")
    assert evaluate(
        "__base_authority_seen.public_key_fingerprints == __base_authority_key.public_key_fingerprints", own
    )
    (place / "authority.key").unlink()
    assert not evaluate("__base_authority_is_good", own)
    certify(place / "other.pem")
    (place / "other.key").rename(place / "authority.key")
    assert not evaluate("__base_authority_is_good", own)


def test_what_ends_soon_is_renewed(given: dict[str, Any]) -> None:
    """The files of this test are good for two days."""
    assert not evaluate("__base_certificate_seen.not_after > __base_certificate_soon", given)
    assert evaluate(
        "__base_certificate_seen.not_after > __base_certificate_soon",
        given | {"base_certificates_renew_days": 1},
    )
