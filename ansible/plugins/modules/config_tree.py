#!/usr/bin/python
"""Write a whole tree of files in one step: compared once, validated before any lands, then moved into place."""

from __future__ import annotations

import base64
import fnmatch
import glob
import grp
import json
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
import zlib
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: config_tree
short_description: Write a tree of configuration files in one step
description:
  - Renders all templates on the controller and sends them to the host together. The host compares every entry once, stages
    the files that differ, runs each file's own program on the staged copy, and only when all pass moves them into place.
  - An I(mtime) therefore changes only when content does; M(systemd_units) relies on this to decide on restarts.
options:
  files:
    description: >-
      Entries, each with C(dest) and one of C(template), C(content), C(directory=true) or C(link).
      C(owner), C(group) (default root), C(mode) (default 0644, directories 0755).
      C(validate): a command with C(%s) for the staged file and, if wanted, C(%t) for the root of the staged tree.
      C(secret=true): no diff is shown.
      C(each): a mapping; the entry stands for one file of each key, C(%i) in C(dest) is the key, and the template sees
      C(item.key) and C(item.value).
    type: list
    required: true
  prune:
    description: Glob patterns. Files, links and directories that match and are not in C(files) are removed.
    type: list
    default: []
"""


class Entry:
    """One wanted file, directory or link."""

    def __init__(self, data: dict) -> None:
        self.dest = data["dest"]
        self.owner = data.get("owner", "root")
        self.group = data.get("group", "root")
        self.directory = bool(data.get("directory"))
        self.link = data.get("link")
        self.mode = int(str(data.get("mode", "0755" if self.directory else "0644")), 8)
        self.content = None if self.directory or self.link else data["content"].encode()
        self.validate = data.get("validate")
        self.secret = bool(data.get("secret"))


class Tree:
    """The wanted entries against what the host has."""

    def __init__(self, module: AnsibleModule, entries: list[Entry], prune: list[str]) -> None:
        self.module = module
        self.entries = entries
        self.prune = prune
        self.changed: list[str] = []
        self.diffs: list[dict] = []

    def fail(self, message: str, **more: object) -> None:
        self.module.fail_json(msg=message, **more)

    def ids(self, entry: Entry) -> tuple[int, int] | None:
        """Numeric owner and group, or None in check mode when a package or an earlier step would create them."""
        try:
            return pwd.getpwnam(entry.owner).pw_uid, grp.getgrnam(entry.group).gr_gid
        except KeyError as error:
            if self.module.check_mode:
                return None
            self.fail(f"{entry.dest}: {error.args[0]}. The role that owns it has to run first.")
            raise

    def describe(self, entry: Entry) -> dict | None:
        """What stands at the entry's path now, in the terms of the entry; None when nothing does."""
        try:
            info = os.lstat(entry.dest)
        except FileNotFoundError:
            return None
        kind = "link" if stat.S_ISLNK(info.st_mode) else "directory" if stat.S_ISDIR(info.st_mode) else "file"
        content: bytes | str | None = None
        if kind == "file":
            content = Path(entry.dest).read_bytes()
        elif kind == "link":
            content = os.readlink(entry.dest)
        return {
            "kind": kind,
            "ids": (info.st_uid, info.st_gid),
            "mode": stat.S_IMODE(info.st_mode),
            "content": content,
        }

    def wanted(self, entry: Entry, ids: tuple[int, int] | None) -> dict:
        kind = "directory" if entry.directory else "link" if entry.link else "file"
        return {
            "kind": kind,
            "ids": ids,
            "mode": entry.mode,
            "content": entry.link if entry.link else entry.content,
        }

    def compare(self) -> tuple[list[Entry], list[Entry]]:
        """Entries to write anew, and entries of which only owner or mode differ."""
        write, adjust = [], []
        for entry in self.entries:
            ids = self.ids(entry)
            before, after = self.describe(entry), self.wanted(entry, ids)
            if before is not None and before["kind"] != after["kind"]:
                self.fail(
                    f"{entry.dest} is a {before['kind']} and should be a {after['kind']}. "
                    "Move it away by hand; nothing was changed."
                )
            if before is None or before["content"] != after["content"]:
                write.append(entry)
            elif not entry.link and (before["ids"] != ids or before["mode"] != entry.mode):
                adjust.append(entry)
            else:
                continue
            self.changed.append(entry.dest)
            self.diffs.append(self.diff(entry, before, after))
        return write, adjust

    def diff(self, entry: Entry, before: dict | None, after: dict) -> dict:
        def text(state: dict | None) -> str:
            if state is None:
                return ""
            head = f"# {state['kind']}, mode {state['mode']:04o}\n" if state["kind"] != "link" else ""
            if entry.secret:
                return head + f"# secret content {'(changed)' if state is after and before else ''}\n"
            content = state["content"] or ""
            return head + (content.decode(errors="replace") if isinstance(content, bytes) else content)

        return {
            "before_header": entry.dest,
            "after_header": entry.dest,
            "before": text(before),
            "after": text(after),
        }

    def strays(self) -> list[str]:
        """Paths that match a prune pattern and neither are wanted nor hold what is wanted."""
        wanted = [entry.dest for entry in self.entries]

        def keeps(path: str) -> bool:
            return any(dest == path or dest.startswith(path + "/") for dest in wanted)

        return sorted({path for pattern in self.prune for path in glob.glob(pattern) if not keeps(path)})

    def validate(self, write: list[Entry]) -> None:
        """Run each changed file's own program on a staged mirror of the tree."""
        if not any(entry.validate for entry in write):
            return
        with tempfile.TemporaryDirectory(prefix="config-tree-") as stage:
            os.chmod(stage, 0o755)  # a validator may drop its privileges
            for entry in self.entries:
                path = Path(stage + entry.dest)
                if entry.content is None:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(entry.content)
                os.chmod(path, 0o600 if entry.secret else 0o644)
                ids = self.ids(entry)
                if ids:
                    os.chown(path, *ids)
            for entry in write:
                if not entry.validate:
                    continue
                command = entry.validate.replace("%s", shlex.quote(stage + entry.dest))
                command = command.replace("%t", shlex.quote(stage))
                run = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
                if run.returncode:
                    output = (run.stdout + run.stderr).replace(stage, "").strip()
                    self.fail(
                        f"{entry.dest} was refused by its own program; nothing was changed.\n"
                        f"{entry.validate.replace('%s', entry.dest)}\n{output}"
                    )

    def land(self, write: list[Entry], adjust: list[Entry]) -> None:
        for entry in write:
            ids = self.ids(entry)
            path = Path(entry.dest)
            if entry.directory:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.replace(entry, ids)
                continue
            os.chown(path, *ids)
            os.chmod(path, entry.mode)
        for entry in adjust:
            os.chown(entry.dest, *self.ids(entry))
            os.chmod(entry.dest, entry.mode)

    def replace(self, entry: Entry, ids: tuple[int, int]) -> None:
        """Put a file or a link into place in one atomic step; a reader sees the old one or the new one."""
        temporary = str(Path(entry.dest).parent / f".{Path(entry.dest).name}.{os.getpid()}")
        try:
            if entry.link:
                os.symlink(entry.link, temporary)
            else:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(entry.content)
                    stream.flush()
                    os.fchown(stream.fileno(), *ids)
                    os.fchmod(stream.fileno(), entry.mode)
                    os.fsync(stream.fileno())
            os.rename(temporary, entry.dest)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def remove(self, paths: list[str]) -> None:
        for path in paths:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def decode(payload: str) -> list[dict]:
    return json.loads(zlib.decompress(base64.b64decode(payload)))


def main() -> None:
    module = AnsibleModule(
        # The payload is one opaque string, so that neither the invocation nor the host's log shows a file's content.
        argument_spec={
            "payload": {"type": "str", "required": True, "no_log": True},
            "prune": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    entries = [Entry(data) for data in decode(module.params["payload"])]
    for pattern in module.params["prune"]:
        if not pattern.startswith("/") or fnmatch.fnmatch("/", pattern):
            module.fail_json(msg=f"prune pattern {pattern!r} must be absolute and must not match the root")
    tree = Tree(module, entries, module.params["prune"])
    write, adjust = tree.compare()
    strays = tree.strays()
    tree.changed += strays
    tree.diffs += [
        {"before_header": p, "after_header": p, "before": "present\n", "after": "absent\n"} for p in strays
    ]
    if not module.check_mode:
        tree.validate(write)
        tree.land(write, adjust)
        tree.remove(strays)
    module.exit_json(changed=bool(tree.changed), changed_files=tree.changed, removed=strays, diff=tree.diffs)


if __name__ == "__main__":
    main()
