"""The machines that are looked at: hosts of the fleet, and a fresh container of their image for the state before."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from testinfra.host import Host

from audit.findings import AuditError
from hosts import connect, read_fleet

ROOT = Path(__file__).resolve().parents[2]
PODMAN = str(ROOT / "scripts" / "podman")
LONGEST = 900
"""Seconds after which Podman ends a fresh container by itself, should nobody be left to remove it."""

Shell = Callable[[str], str]
"""Runs a command as root and gives what it printed; AuditError when it fails."""

# As ansible/playbooks/testbed/create.yml starts the hosts, without a fixed address.
RUN = (
    *("--privileged", "--cgroupns=private", "--systemd=false", "--stop-signal=37", "--pids-limit=0"),
    *("--tmpfs=/run:rw,mode=755", "--tmpfs=/run/lock:rw", "--tmpfs=/tmp:rw,mode=1777"),
    *("--ulimit=nofile=20000:20000", "--ulimit=nproc=32768:32768"),
)


def shell_of(name: str) -> Shell:
    """A host of the inventory."""

    def run(command: str) -> str:
        host: Host = connect(name)
        try:
            done = host.run(command)
        except (RuntimeError, OSError) as error:
            # Testinfra's error holds the answer of ssh.
            why = getattr(error.args[0], "stderr", error) if error.args else error
            raise AuditError(
                f"{name} does not answer: {str(why).strip()}\nIs it up? `make status` tells of the hosts of `make up`."
            ) from error
        if done.rc != 0:
            raise AuditError(f"{name}: `{command[:100]}` failed: {done.stderr.strip() or f'code {done.rc}'}")
        return str(done.stdout)

    return run


@contextlib.contextmanager
def fresh(image: str) -> Iterator[tuple[str, Shell]]:
    """A container of `image` in which nothing was done yet, and its name."""
    name = f"celery-fleet-audit-{secrets.token_hex(4)}"
    _podman("run", "--detach", "--rm", f"--timeout={LONGEST}", f"--name={name}", *RUN, image, "/sbin/init")

    def run(command: str) -> str:
        return _podman("exec", name, "sh", "-c", command)

    try:
        _wait_for_boot(name)
        yield name, run
    finally:
        subprocess.run([PODMAN, "rm", "--force", "--time=2", name], capture_output=True, check=False)


def _wait_for_boot(name: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        asked = subprocess.run(
            [PODMAN, "exec", name, "systemctl", "is-system-running", "--wait"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip() in ("running", "degraded"):
            return
        if time.monotonic() > deadline:
            raise AuditError(f"the fresh container does not boot: {asked.stdout}{asked.stderr}".strip())
        time.sleep(0.3)


def _podman(*words: str, data: bytes | None = None) -> str:
    done = subprocess.run([PODMAN, *words], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise AuditError(
            f"podman {' '.join(words)[:100]}: {done.stderr.decode(errors='replace').strip()};"
            " an image that is missing is made by `make images`"
        )
    return done.stdout.decode(errors="replace")


def send_to_container(name: str, archive: Path, directory: str) -> None:
    """Unpacks a tar into a directory that is there."""
    _podman("exec", "--interactive", name, "tar", "-xzf", "-", "-C", directory, data=archive.read_bytes())


def send_to_host(name: str, archive: Path, directory: str) -> None:
    """The same for a host, by Ansible: it comes in however the inventory says, and no journal gets the text of it."""
    program = str(Path(sys.executable).with_name("ansible"))
    sources = [f"--inventory={Path(source).absolute()}" for source in read_fleet().sources]
    done = subprocess.run(
        [
            *(program, name, *sources, "--become", "--module-name=ansible.builtin.unarchive"),
            f"--args=src={archive} dest={directory} owner=root group=root",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AuditError(f"Lynis did not get to {name}: {done.stdout[-800:]}{done.stderr[-800:]}")


@contextlib.contextmanager
def directory_on(shell: Shell) -> Iterator[str]:
    """A directory of root alone, there until the end."""
    path = shell("mktemp --directory /var/tmp/celery-audit.XXXXXXXX").strip()
    try:
        yield path
    finally:
        with contextlib.suppress(AuditError):
            shell(f"rm -rf {path}")
