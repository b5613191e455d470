#!/usr/bin/python
"""Run the commands that belong to a deployment, with the programs and the environment of a release."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: deploy_commands
short_description: Run commands with a release's programs, in the fleet's environment
description:
  - Each command is a line of C(sh), run by the user that runs the app, in the app's home. The release's C(bin) comes first in
    the path; the fleet's environment is set. The first command that fails ends it.
options:
  release: {description: The directory of the release., type: path, required: true}
  commands: {description: Lines of sh., type: list, elements: str, required: true}
  user: {description: Who runs them., type: str, default: celery}
  environment_file: {description: The fleet's environment, as sh reads it., type: path, default: /etc/celery-fleet/fleet.env}
  timeout: {description: Seconds that each command may take., type: int, default: 1800}
  otherwise: {description: What a failure means for the deployment; told with it., type: str, default: ""}
"""

SETTING = """\
set -a
if [ -r "$ENVIRONMENT_FILE" ]; then . "$ENVIRONMENT_FILE"; fi
if [ -r "$RELEASE/release.env" ]; then . "$RELEASE/release.env"; fi
set +a
PATH="$RELEASE/bin:$PATH"
unset ENVIRONMENT_FILE RELEASE
exec /bin/sh -euc "$1"
"""
SHOWN = 8000  # characters of a failed command's output


class CommandError(Exception):
    """A command failed: what it was, how it ended, what it wrote."""


def run(command: str, release: str, user: str, environment_file: str, timeout: int) -> str:
    """What the command wrote. Raises CommandError."""
    account = pwd.getpwnam(user)
    identity = {}
    if os.getuid() != account.pw_uid:
        groups = os.getgrouplist(user, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    environment = {
        "HOME": account.pw_dir,
        "USER": user,
        "LOGNAME": user,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONUNBUFFERED": "1",
        "ENVIRONMENT_FILE": environment_file,
        "RELEASE": release,
    }
    process = subprocess.Popen(
        ["/bin/sh", "-euc", SETTING, "deploy", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment,
        cwd=account.pw_dir,
        umask=0o027,
        start_new_session=True,
        **identity,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise CommandError(
            f"`{command}` took longer than {timeout} s and was killed\n{output[-SHOWN:]}"
        ) from None
    if process.returncode:
        raise CommandError(f"`{command}` ended with {process.returncode}\n{output[-SHOWN:]}")
    return output


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "release": {"type": "path", "required": True},
            "commands": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str", "default": "celery"},
            "environment_file": {"type": "path", "default": "/etc/celery-fleet/fleet.env"},
            "timeout": {"type": "int", "default": 1800},
            "otherwise": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    options = dict(module.params)
    commands, otherwise = options.pop("commands"), options.pop("otherwise")
    results = []
    for command in commands if not module.check_mode else []:
        try:
            results.append({"command": command, "output": run(command, **options)})
        except CommandError as error:
            module.fail_json(
                msg=f"{error}".strip() + (f"\n{otherwise}" if otherwise else ""), results=results
            )
    module.exit_json(changed=bool(commands), ran=not module.check_mode, commands=commands, results=results)


if __name__ == "__main__":
    main()
