"""`fleet deploys`, against a real Redis."""

import time

from celery_fleet.store.deploys import LIMIT
from integration.cli.conftest import Fleet


def test_deployments_are_noted_and_listed_the_newest_first(fleet: Fleet) -> None:
    assert fleet("deploys").out.strip() == "no deployment was noted"
    noted = fleet("deploys", "note", "app-1", "--host", "w2", "--host", "w1", "--by", "ann", "--json").data
    assert abs(noted.pop("at") - time.time()) < 5
    assert noted == {"release": "app-1", "by": "ann", "hosts": ["w1", "w2"], "rollback": False}
    assert fleet("deploys", "note", "app-0", "--rollback").out == "app-0: noted\n"
    newest, oldest = fleet("deploys", "list", "--json").data["deploys"]
    assert (newest["release"], newest["rollback"], newest["hosts"]) == ("app-0", True, [])
    assert newest["by"].startswith("ann@"), "who called it, behind sudo"
    assert oldest["release"] == "app-1"
    table = fleet("deploys", "--limit", "1").out
    assert "app-0 (back)" in table
    assert "app-1" not in table


def test_as_many_are_kept_as_charts_can_show(fleet: Fleet) -> None:
    for number in range(LIMIT + 3):
        assert fleet("deploys", "note", f"app-{number}").code == 0
    found = fleet("deploys", "--limit", str(LIMIT), "--json").data["deploys"]
    assert [each["release"] for each in found] == [f"app-{number}" for number in range(LIMIT + 2, 2, -1)]


def test_a_release_has_to_be_named(fleet: Fleet) -> None:
    assert fleet("deploys", "note").code == 2
