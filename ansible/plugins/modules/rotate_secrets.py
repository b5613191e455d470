#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""New secrets beside the old ones, step by step, on the machine that keeps them."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rotate_secrets
short_description: Make new secrets, put them in the place of the old ones, forget the old ones
description:
  - Runs on the controller. A secret is a file; the one to come is C(<name>.next), the one before C(<name>.previous).
  - C(begin) makes the next ones, unless an earlier run that failed has made them. Those whose last rotation has not ended
    are left alone, and returned as C(waiting).
  - C(switch) makes the next ones those that are used, and keeps the ones before.
  - C(end) forgets the ones before.
  - Every step does nothing when it has been done, so a rotation that failed half way goes on where it stood.
options:
  directory:
    description: Where the secrets are.
    type: path
    required: true
  step:
    description: What to do.
    type: str
    choices: [begin, switch, end]
    required: true
  names:
    description: Files, without their directory. None are all of it.
    type: list
    elements: str
    default: []
  keep:
    description: Files that the step leaves alone.
    type: list
    elements: str
    default: []
"""

NEXT, PREVIOUS = ".next", ".previous"
LETTERS = string.ascii_letters + string.digits


class Refused(ValueError):  # noqa: N818 - it names what was found
    """What cannot be done, and the remedy."""


def chosen(directory: Path, names: list[str], keep: list[str]) -> list[Path]:
    """The files of the secrets."""
    found = {
        path.name: path
        for path in directory.iterdir()
        if path.is_file() and path.suffix not in (NEXT, PREVIOUS)
    }
    unknown = sorted({*names, *keep} - set(found))
    if unknown:
        raise Refused(
            f"there is no secret {', '.join(unknown)} in {directory}; there are {', '.join(sorted(found))}"
        )
    return [found[name] for name in sorted(set(names or found) - set(keep))]


def begin(path: Path) -> bool:
    """A new one beside it, as long as it is."""
    if beside(path, NEXT).exists():
        return False
    length = len(path.read_text().split(" ")[0].strip())
    new = "".join(secrets.choice(LETTERS) for _ in range(length))
    made = os.open(beside(path, NEXT), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(made, "w") as file:
        file.write(f"{new}\n")
    return True


def switch(path: Path) -> bool:
    """The new one in its place. At no moment is there none."""
    if not beside(path, NEXT).exists():
        return False
    if not beside(path, PREVIOUS).exists():
        os.link(path, beside(path, PREVIOUS))
    beside(path, NEXT).replace(path)
    return True


def end(path: Path) -> bool:
    """Only the one that is used is left."""
    there = beside(path, PREVIOUS).exists()
    beside(path, PREVIOUS).unlink(missing_ok=True)
    return there


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


STEPS: dict[str, Callable[[Path], bool]] = {"begin": begin, "switch": switch, "end": end}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "step": {"type": "str", "choices": list(STEPS), "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "keep": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        paths = chosen(Path(wanted["directory"]), wanted["names"], wanted["keep"])
        waiting = [
            path for path in paths if beside(path, PREVIOUS).exists() and not beside(path, NEXT).exists()
        ]
        if wanted["step"] == "begin":
            paths = [path for path in paths if path not in waiting]
        changed = (
            bool(paths)
            if module.check_mode
            else [STEPS[wanted["step"]](path) for path in paths].count(True) > 0
        )
        module.exit_json(changed=changed, waiting=[path.name for path in waiting])
    except (OSError, Refused) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
