"""No secret of a fleet is where others may read it: command lines, units, journals, files, the project itself."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetsecrets import secrets_of, told
from hosts import Fleet, read_fleet

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = "/run/celery-secrets"

PLACES = {
    "command lines": "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'",
    "units": "systemctl show --all '*'; systemctl cat '*' 2>/dev/null",
    "environment of the manager": "systemctl show-environment",
    "journal": "journalctl --quiet --no-pager --output=export --all",
    "files of logs": "find /var/log -path /var/log/journal -prune -o -type f -exec cat {} +",
}
"""What is searched, and the command that prints it."""

# Directories of the system's own packages are as their packages made them.
READABLE = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /usr/lib -o -path /usr/share -o -path /var/lib/dpkg \\) -prune"
    " -o -type f -perm /o=r -print0 | xargs -0 grep --files-with-matches --fixed-strings --file={patterns} --no-messages"
)


@pytest.fixture(scope="module")
def patterns(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A file of all secrets on each host, brought there by Ansible as a file: no command line has them."""
    file = tmp_path_factory.mktemp("secrets") / "all"
    file.write_text("\n".join(secrets_of(fleet).values()) + "\n")
    _everywhere("ansible.builtin.copy", f"src={file} dest={PATTERNS} mode=0600")
    yield PATTERNS
    _everywhere("ansible.builtin.file", f"path={PATTERNS} state=absent")


def _everywhere(module: str, arguments: str) -> None:
    program = str(Path(sys.executable).with_name("ansible"))
    sources = [f"--inventory={Path(source).resolve()}" for source in read_fleet().sources]
    done = subprocess.run(
        [program, "all", *sources, "--become", f"--module-name={module}", f"--args={arguments}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", read_fleet().names)
class TestHost:
    @pytest.mark.parametrize("place", PLACES)
    def test_nothing_tells_a_secret(self, fleet: Fleet, patterns: str, name: str, place: str) -> None:
        host = fleet.host(name)
        assert host.check_output(f"({PLACES[place]}) | head --bytes=1 | wc --bytes") == "1", (
            "there is something to search"
        )
        # grep fails when it finds nothing, which is the answer that is wanted.
        found = host.run(f"({PLACES[place]}) | grep --fixed-strings --count --file={patterns}").stdout
        assert found.strip() == "0"

    def test_no_file_that_everybody_may_read_has_one(self, fleet: Fleet, patterns: str, name: str) -> None:
        host = fleet.host(name)
        found = host.run(READABLE.format(patterns=patterns)).stdout.split("\n")
        # In a directory that they may not enter, they cannot read it.
        readable = [
            path
            for path in found
            if path and host.run(f"runuser -u nobody -- test -r {shlex.quote(path)}").rc == 0
        ]
        assert readable == []

    def test_the_search_finds_what_is_there(self, fleet: Fleet, patterns: str, name: str) -> None:
        """Else it would prove nothing: each host has secrets in files that few may read."""
        search = f"grep --recursive --files-with-matches --fixed-strings --file={patterns} /etc"
        assert fleet.host(name).run(search).stdout.split()


def test_there_are_secrets(fleet: Fleet) -> None:
    assert {"redis-admin", "redis-worker", "console-operator"} <= set(secrets_of(fleet))


def test_the_project_has_none(fleet: Fleet) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert files
    secrets = secrets_of(fleet)
    wrong = {str(path): told(secrets, path.read_text(errors="replace")) for path in files if path.is_file()}
    assert {path: names for path, names in wrong.items() if names} == {}
