"""host_facts says what Ansible's own facts say, and what dpkg and the password file have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from unit.ansible.plugins import load, run

ROLES = Path(__file__).resolve().parents[3] / "ansible" / "roles"

facts = load("host_facts")


def test_means_what_ansible_means() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "ansible.modules.setup"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {}}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = json.loads(answer)["ansible_facts"]
    ours = run("host_facts")["ansible_facts"]
    same = set(ours) - {
        "packages_installed", "users", "groups", "python_version", "disk_total_mb", "nft_tables", "fleet_files",
    }  # fmt: skip
    assert {name: ours[name] for name in same} == {name: theirs[f"ansible_{name}"] for name in same}


def test_the_disk_is_that_of_the_data() -> None:
    shown = subprocess.run(
        ["df", "--block-size=1M", "--output=size", "/var/lib"], capture_output=True, text=True, check=True
    ).stdout
    assert abs(run("host_facts")["ansible_facts"]["disk_total_mb"] - int(shown.split()[1])) <= 1


def test_packages_and_users_are_those_of_the_system() -> None:
    ours = run("host_facts")["ansible_facts"]
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = {line.split()[1] for line in listed.splitlines() if line.startswith("installed ")}
    assert set(ours["packages_installed"]) == installed
    assert "root" in ours["users"]
    assert "root" in ours["groups"]


def test_a_removed_package_is_not_installed() -> None:
    status = [
        "Package: a\n",
        "Status: install ok installed\n",
        "\n",
        "Package: b\n",
        "Status: deinstall ok config-files\n",
    ]
    assert facts.installed(status) == ["a"]


@pytest.mark.parametrize("own", sorted(ROLES.glob("*/vars/main.yml")), ids=lambda own: own.parents[1].name)
def test_what_a_role_takes_away_again_is_looked_for(own: Path) -> None:
    """Its own list, but for what the inventory may move: each path is among those that are read."""
    listed = yaml.safe_load(own.read_text()).get(f"__{own.parents[1].name}_own", [])
    paths = re.findall(r"/(?:etc|opt)/[^\s',\]]+", str(listed))
    assert len(paths) >= len(listed) - 1 if isinstance(listed, list) else paths
    for path in paths:
        assert any(fnmatch(path.rstrip("*"), pattern) for pattern in facts.FLEET_FILES), path
