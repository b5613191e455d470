#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring a running Redis to what its files say, without a restart where that is possible."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: redis_live
short_description: Apply redis.conf and the ACL file to the running server, and tell whether it must restart
description:
  - Starts a throw-away C(redis-server) with the wanted configuration on a socket of its own and asks it what
    the configuration means (C(CONFIG GET *), C(ACL LIST)). So units, defaults, aliases and the server's form
    of ACL rules need no interpretation here, and an option that left the file goes back to its default.
  - Options that differ are set with C(CONFIG SET). ACL users that differ are set with C(ACL SETUSER), which
    unlike C(ACL LOAD) of Redis 7.0 keeps the connections of all users.
  - A certificate whose file is not the one that the server shows is read again; connections stay.
  - What the server cannot change while it runs is returned as I(restart_needed). That is a comparison of
    states, so a run that fails before the restart is made good by the next one.
  - When C(appendonly) is switched on, the module waits until the append-only file holds the whole data set. A
    restart before that would start empty.
options:
  config:
    description: The text of redis.conf. Must not hold passwords.
    type: str
    required: true
  acl_file:
    description: The ACL file on the host, as I(config) names it.
    type: path
    required: true
  username:
    description: The ACL user to log in as.
    type: str
    default: admin
  password_file:
    description: File on the host with the password of I(username).
    type: path
    required: true
  addresses:
    description: >-
      Where the running server may be found, socket paths or C(host:port). The first that answers is taken.
    type: list
    elements: str
    default: [/run/redis/redis-server.sock, "127.0.0.1:6379"]
  timeout:
    description: Seconds to wait for the throw-away server, and for each answer.
    type: int
    default: 15
  rewrite_timeout:
    description: Seconds to wait for the append-only file after it was switched on.
    type: int
    default: 600
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet
"""

EXAMPLES = r"""
- name: Bring the running server to the configuration
  redis_live:
    config: "{{ lookup('ansible.builtin.template', 'redis.conf.j2') }}"
    acl_file: /etc/redis/users.acl
    password_file: /etc/redis/admin.password
  register: redis_state
"""

RETURN = r"""
running:
  description: Whether a server was found.
  type: bool
  returned: always
restart_needed:
  description: Whether only a restart brings the server to its files.
  type: bool
  returned: always
restart_reasons:
  description: The options that only a restart changes, or why the server was not asked.
  type: list
  elements: str
  returned: always
options:
  description: Names of the options that were set.
  type: list
  elements: str
  returned: always
users:
  description: Names of the ACL users that were set or deleted.
  type: list
  elements: str
  returned: always
"""

# The throw-away server has its own values of these; what is wanted of them is read from the file.
OWN_PLACE = ("port", "tls-port", "unixsocket", "dir", "pidfile", "logfile")
# The unit gives these on the server's command line.
COMMAND_LINE = frozenset({"daemonize", "supervised"})
CERTIFICATE = ["tls-cert-file", "tls-key-file", "tls-ca-cert-file"]
SECRET = frozenset({"requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"})


class ReplyError(Exception):
    """An error that the Redis server answered."""


class Connection:
    """A RESP2 connection to one Redis server.

    address: path of a unix socket, or "host:port". timeout: seconds for connecting and for each answer.
    Raises OSError when there is no server.
    """

    def __init__(self, address: str, timeout: float) -> None:
        if address.startswith("/"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout)
            try:
                self._socket.connect(address)
            except OSError:
                self._socket.close()
                raise
        else:
            host, port = address.rsplit(":", 1)
            self._socket = socket.create_connection((host, int(port)), timeout)
        self._replies = self._socket.makefile("rb")

    def close(self) -> None:
        self._replies.close()
        self._socket.close()

    def call(self, *words: str) -> Any:
        """Send one command; return its answer: str, int, None or a list of those. Raises ReplyError."""
        parts = [word.encode() for word in words]
        self._socket.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        )
        return self._read()

    def _read(self) -> Any:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the Redis server closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ReplyError(rest)
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self._replies.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
        return [self._read() for _ in range(int(rest))]

    def options(self) -> dict[str, str]:
        """All configuration options of the server, by name."""
        flat = self.call("CONFIG", "GET", "*")
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def users(self) -> dict[str, str]:
        """The rules of all ACL users in the server's normal form, by name."""
        return dict(line.split(" ", 2)[1:] for line in self.call("ACL", "LIST"))


@contextlib.contextmanager
def trial_server(config: str, timeout: float) -> Iterator[str]:
    """A throw-away server with this configuration: the path of its socket.

    timeout: seconds until it must answer. Raises RuntimeError with what it said when it does not.
    """
    directory = tempfile.mkdtemp(prefix="redis-trial-")
    address = f"{directory}/socket"
    conf, log = Path(directory, "redis.conf"), Path(directory, "log")
    conf.write_text(config)
    own = {
        "port": "0", "tls-port": "0", "unixsocket": address, "dir": directory, "pidfile": f"{directory}/pid",
        "logfile": "", "daemonize": "no", "supervised": "no",
    }  # fmt: skip
    arguments = [word for name, value in own.items() for word in (f"--{name}", value)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["redis-server", str(conf), *arguments],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(OSError):
                Connection(address, timeout).close()
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")[-2000:])
            time.sleep(0.01)
        yield address
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory, ignore_errors=True)


def log_in(address: str, username: str, password: str, timeout: float) -> Connection:
    """A connection to the server that may administer it. Raises ReplyError when it does not let us."""
    connection = Connection(address, timeout)
    try:
        connection.call("AUTH", username, password)
    except ReplyError as refused:
        # Debian's own configuration has no passwords. Any other server refuses the next command, too.
        try:
            connection.call("ACL", "WHOAMI")
        except ReplyError:
            connection.close()
            raise refused from None
    return connection


def written(config: str) -> dict[str, str]:
    """What the file says of the options in OWN_PLACE."""
    lines = (shlex.split(line, comments=True) for line in config.splitlines())
    said = {words[0].lower(): " ".join(words[1:]) for words in lines if words}
    return {"port": "6379", "tls-port": "0", "unixsocket": ""} | {
        name: said[name] for name in OWN_PLACE if name in said
    }


def regardless_of_order(rules: str) -> list[list[str]]:
    """ACL rules, a list for the user and one for each selector. Redis 7.0 lists commands in any order.

    Without sanitize-payload, which is what a user has anyway, and which a user out of a file does not show.
    """
    return [
        sorted(rule for rule in part.strip("()").split() if rule != "sanitize-payload")
        for part in re.split(r" (?=\()", rules)
    ]


def differences(
    running: Mapping[str, str], wanted: Mapping[str, str], form: Callable[[str], Any] = str
) -> dict[str, tuple[str | None, str | None]]:
    """What differs in the given form, by name: (value now, value wanted); None = not there."""
    pairs = {name: (running.get(name), wanted.get(name)) for name in sorted(running.keys() | wanted.keys())}
    return {
        name: (now, want)
        for name, (now, want) in pairs.items()
        if now is None or want is None or form(now) != form(want)
    }


def changes_live(trial: Connection, name: str, value: str) -> bool:
    """Whether a running server lets this option be set. The throw-away server is asked, not the real one."""
    if name in {"port", "tls-port"}:  # trying would open the port
        return True
    try:
        trial.call("CONFIG", "SET", name, value)
    except ReplyError:
        return False
    return True


def shows_another_certificate(options: Mapping[str, str]) -> bool:
    """Whether the running server shows its TLS clients another certificate than its file has."""
    addresses = options["bind"].split()
    if options.get("tls-port", "0") == "0" or not addresses:
        return False
    address = addresses[0].lstrip("-")
    host = {"*": "127.0.0.1", "::*": "::1"}.get(address, address)
    # Only looked at: nothing is sent.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(options["tls-port"])), 5) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    text = Path(options["tls-cert-file"]).read_text()
    first = text[text.index("-----BEGIN CERT") :].partition("-----END CERTIFICATE-----")
    return shown != ssl.PEM_cert_to_DER_cert(first[0] + first[1])


def diff_text(options: Mapping[str, tuple], users: Mapping[str, tuple], side: int) -> str:
    """One side of the diff that the module reports, a rule a line; passwords and their hashes are masked."""
    lines = [
        f"{name} {'(hidden)' if name in SECRET else pair[side]}"
        for name, pair in options.items()
        if pair[side] is not None
    ]
    for name, pair in users.items():
        parts = [] if pair[side] is None else regardless_of_order(pair[side])
        lines += [
            f"user {name} {f'selector {n} ' if n else ''}{rule}"
            for n, part in enumerate(parts)
            for rule in part
        ]
    text = "".join(line + "\n" for line in lines)
    return re.sub("#[0-9a-f]{64}", lambda found: found[0][:5] + "...", text)


def wait_for_rewrite(connection: Connection, timeout: float) -> None:
    """Wait until the append-only file holds the whole data set. Raises RuntimeError."""
    deadline = time.monotonic() + timeout
    while True:
        state = dict(
            line.split(":", 1) for line in connection.call("INFO", "persistence").splitlines() if ":" in line
        )
        if state["aof_rewrite_in_progress"] == state["aof_rewrite_scheduled"] == "0":
            if state["aof_last_bgrewrite_status"] != "ok":
                raise RuntimeError("the first append-only file could not be written")
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the first append-only file was not written within {timeout} s")
        time.sleep(0.1)


def set_users(connection: Connection, users: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Give the users their wanted rules, which `ACL LIST` wrote; delete those that have none."""
    for name, (_, rules) in users.items():
        if rules is None:
            connection.call("ACL", "DELUSER", name)
        else:
            connection.call("ACL", "SETUSER", name, "reset", *rules.split())


def connect(module: AnsibleModule, password: str) -> tuple[Connection | None, str | None]:
    """The running server, or why it cannot be asked (None when there is none)."""
    refused = None
    for address in module.params["addresses"]:
        try:
            return log_in(address, module.params["username"], password, module.params["timeout"]), None
        except OSError:
            continue
        except ReplyError as error:
            refused = f"the server at {address} refuses the user {module.params['username']}: {error}"
    return None, refused


def apply(module: AnsibleModule, running: Connection, trial: Connection) -> dict[str, Any]:
    """Compare the two servers, change the running one (not in check mode) and return the module's result."""
    now, said = running.options(), written(module.params["config"])
    want = {name: value for name, value in trial.options().items() if name not in OWN_PLACE} | said
    compared = (now.keys() & want.keys()) - COMMAND_LINE
    options = differences({name: now[name] for name in compared}, {name: want[name] for name in compared})
    static = [name for name, (_, value) in options.items() if not changes_live(trial, name, value or "")]
    # A restart reads the ACL file, too.
    users = {} if static else differences(running.users(), trial.users(), regardless_of_order)
    live = [name for name in options if name not in static]
    if not static and "tls-port" not in options and shows_another_certificate(now):
        options |= {name: (now[name], now[name]) for name in CERTIFICATE}
        live += CERTIFICATE
    if not module.check_mode:
        # Ports and certificates belong together: each alone may be impossible.
        together = [name for name in live if name == "port" or name.startswith("tls-")]
        for names in (together, *([name] for name in live if name not in together)):
            if names:
                running.call(
                    "CONFIG", "SET", *(word for name in names for word in (name, options[name][1] or ""))
                )
        if "appendonly" in live and options["appendonly"][1] == "yes":
            wait_for_rewrite(running, module.params["rewrite_timeout"])
        set_users(running, users)
    return {
        "changed": bool(live or users),
        "running": True,
        "restart_needed": bool(static),
        "restart_reasons": static,
        "options": live,
        "users": list(users),
        "diff": {"before": diff_text(options, users, 0), "after": diff_text(options, users, 1)},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "required": True},
            "acl_file": {"type": "path", "required": True},
            "username": {"type": "str", "default": "admin"},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "addresses": {
                "type": "list",
                "elements": "str",
                "default": ["/run/redis/redis-server.sock", "127.0.0.1:6379"],
            },
            "timeout": {"type": "int", "default": 15},
            "rewrite_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    result: dict[str, Any] = {"restart_needed": False, "restart_reasons": [], "options": [], "users": []}
    files = [Path(module.params[name]) for name in ("acl_file", "password_file")]
    if module.check_mode and not (shutil.which("redis-server") and all(file.exists() for file in files)):
        # The run that is only tried here would have installed the server and written the files by now.
        module.exit_json(changed=True, running=False, **result)
    try:
        password = files[1].read_text().strip()
        running, refused = connect(module, password)
        if running is None:
            reasons = [refused] if refused else []
            result |= {"restart_needed": bool(reasons), "restart_reasons": reasons}
            module.exit_json(changed=False, running=bool(reasons), **result)
        timeout = module.params["timeout"]
        with (
            contextlib.closing(running),
            trial_server(module.params["config"], timeout) as address,
            contextlib.closing(log_in(address, module.params["username"], password, timeout)) as trial,
        ):
            result = apply(module, running, trial)
    except (OSError, ReplyError, RuntimeError) as error:
        module.fail_json(msg=f"{type(error).__name__}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
