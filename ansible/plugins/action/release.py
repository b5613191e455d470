"""Controller side of release: the archive travels only to a host that does not have the release yet."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Asks the host first; sends `archive` (a path on the controller) when it is missing there."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = {key: value for key, value in self._task.args.items() if key != "archive"}
        result = self._execute_module(module_name="release", module_args=arguments, task_vars=task_vars)
        if not result.get("missing"):
            return result
        self._make_tmp_path()
        try:
            remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "release.tar")
            self._transfer_file(self._task.args["archive"], remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote))
            return self._execute_module(
                module_name="release", module_args={**arguments, "archive": remote}, task_vars=task_vars
            )
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
