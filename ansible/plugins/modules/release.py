#!/usr/bin/python
"""Install an immutable release from its archive, switch to it, and prune old ones."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: release
short_description: Install, activate and prune releases of the app
description:
  - A release is C(<root>/releases/<id>), a virtualenv installed offline from a hash-checked wheelhouse. It becomes visible
    under its name only when it is whole and its app can be imported; C(<root>/current) is switched atomically.
options:
  root: {description: Where releases live., type: path, required: true}
  id: {description: The release to run. With O(rollback) it may be left out, which means the one before the current., type: str}
  archive: {description: Path on the controller of what build-release made., type: path}
  app: {description: The module of the Celery app; it is imported as a trial before the switch., type: str}
  user: {description: The trial import runs as this user., type: str}
  keep: {description: How many releases stay on the host., type: int, default: 3}
  activate: {description: Whether to switch to it; if not C(switch) tells whether to., type: bool, default: true}
  rollback: {description: Switch to a release that is already there., type: bool, default: false}
"""

HISTORY = ".history"  # ids in the order in which they became current, newest last


class Releases:
    """The releases directory of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.current_link = root / "current"
        self.directory = root / "releases"

    def path(self, release: str) -> Path:
        return self.directory / release

    def current(self) -> str | None:
        return os.path.basename(os.readlink(self.current_link)) if self.current_link.is_symlink() else None

    def installed(self) -> list[str]:
        return sorted(
            p.name
            for p in self.directory.glob("*")
            if (p / "release.json").exists() and not p.name.startswith(".")
        )

    def history(self) -> list[str]:
        """Ids that are still installed, in the order of their last activation."""
        file = self.directory / HISTORY
        lines = file.read_text().split() if file.exists() else []
        return [r for n, r in enumerate(lines) if r not in lines[n + 1 :] and r in self.installed()]

    def previous(self) -> str | None:
        """The release that was current before the current one."""
        earlier = [release for release in self.history() if release != self.current()]
        return earlier[-1] if earlier else None

    def activate(self, release: str) -> None:
        temporary = self.root / f".current.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(f"releases/{release}")
        temporary.rename(self.current_link)
        order = [r for r in self.history() if r != release] + [release]
        (self.directory / HISTORY).write_text("\n".join(order) + "\n")

    def prunable(self, keep: int, also: str) -> list[str]:
        """Installed releases beyond the newest `keep`; never the current one, nor the one to go back to."""
        history = [r for r in self.history() if r != also] + [also]
        never_run = [r for r in self.installed() if r not in history]
        return [r for r in [*never_run, *history][: -max(keep, 2)] if r != also]


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Of two runs at once the second waits, and finds what the first has installed."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fail_with(module: AnsibleModule, what: str, run: subprocess.CompletedProcess) -> None:
    module.fail_json(msg=f"{what}; the current release is untouched.\n{(run.stdout + run.stderr).strip()}")


def install(module: AnsibleModule, releases: Releases, release: str, archive: str) -> None:
    """Unpack, install offline with hashes checked, try the app, then give it its name."""

    def run(what: str, *command: str, **more: object) -> None:
        environment = {
            **os.environ,
            "PIP_CONFIG_FILE": "/dev/null",
            "PYTHONDONTWRITEBYTECODE": "",
            **more.get("env", {}),
        }
        process = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=target,
            env=environment,
            user=more.get("user"),
        )
        if process.returncode:
            shutil.rmtree(target, ignore_errors=True)
            fail_with(module, what, process)

    target = releases.path(release)
    # A virtualenv cannot be moved, so it is built in place; release.json comes last and marks it as whole.
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(target)
    about = target / "release.json"
    description = json.loads(about.read_text())
    about.unlink()
    version = ".".join(map(str, sys.version_info[:3]))
    if description["python"] != version:
        shutil.rmtree(target)
        module.fail_json(
            msg=f"the release was built for Python {description['python']}, this host has {version}"
        )
    pip = glob.glob("/usr/share/python-wheels/pip-*.whl")
    if not pip:
        module.fail_json(
            msg="Debian's pip wheel is missing: install python3-venv (the role's release_packages)"
        )
    run("the virtualenv cannot be made", "/usr/bin/python3", "-m", "venv", "--without-pip", str(target))
    python = str(target / "bin" / "python")
    run(
        "the wheelhouse does not install",
        *(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--require-hashes", "--no-compile"),
        *("--disable-pip-version-check", "--no-cache-dir", "--find-links", str(target / "wheels")),
        *("--requirement", str(target / "requirements.txt")),
        env={"PYTHONPATH": pip[0]},
    )  # fmt: skip
    run("its requirements contradict each other", python, "-m", "pip", "check", env={"PYTHONPATH": pip[0]})
    run("its bytecode cannot be compiled", python, "-m", "compileall", "-q", "-j", "0", str(target / "lib"))
    app = module.params["app"]
    if app:
        run(
            f"its app {app} cannot be imported",
            python,
            "-c",
            f"import {app}, celery_fleet",
            user=module.params["user"],
        )
    shutil.rmtree(target / "wheels")
    (target / "release.env").write_text(f"CELERY_FLEET_RELEASE={release}\n")
    about.write_text(json.dumps(description, indent=2) + "\n")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "id": {"type": "str"},
            "archive": {"type": "path"},
            "app": {"type": "str"},
            "user": {"type": "str"},
            "keep": {"type": "int", "default": 3},
            "activate": {"type": "bool", "default": True},
            "rollback": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    want, archive, activate = module.params["id"], module.params["archive"], module.params["activate"]
    releases = Releases(Path(module.params["root"]))
    before = releases.current()
    if module.params["rollback"]:
        want = want or releases.previous()
        if want not in releases.installed():
            have = ", ".join(releases.history()) or "none"
            module.fail_json(
                msg=f"there is no release {want or 'before the current one'} to go back to. On this host: {have}"
            )
    present = want in releases.installed()
    if not present and not module.check_mode and not archive:
        module.exit_json(changed=False, missing=True)  # the controller sends the archive and asks again
    if not module.check_mode:
        with alone(releases.directory):
            if want not in releases.installed():
                install(module, releases, want, archive)
        if before != want and activate:
            releases.activate(want)
    if before != want and not activate:
        module.exit_json(changed=not present, id=want, switch=True)
    removed = releases.prunable(module.params["keep"], want) if present or not module.check_mode else []
    for release in removed:
        if not module.check_mode:
            shutil.rmtree(releases.path(release))
    module.exit_json(
        changed=not present or before != want or bool(removed),
        changed_files=[str(releases.current_link)] if before != want else [],
        id=want,
        switch=False,
        current=want,
        previous=before,
        removed=removed,
        diff={"before": f"{before}\n", "after": f"{want}\n"},
    )


if __name__ == "__main__":
    main()
