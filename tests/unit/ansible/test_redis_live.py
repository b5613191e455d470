"""redis_live against a real redis-server on a unix socket, with ACL users."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from integration import support
from integration.support import free_port

MODULE = Path(__file__).resolve().parents[3] / "ansible/plugins/modules/redis_live.py"
PASSWORD = "correct-horse"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("redis_live", MODULE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


redis_live = load()


def acl_line(name: str, password: str, rules: str) -> str:
    return f"user {name} on #{hashlib.sha256(password.encode()).hexdigest()} {rules}\n"


class Server:
    """A server with a configuration file, an ACL file and the password of its admin."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = f"{directory}/s"
        self.conf, self.acl = directory / "redis.conf", directory / "users.acl"
        self.password = directory / "admin.password"
        self.options = {
            "port": "0", "unixsocket": self.socket, "dir": str(directory), "logfile": '""', "save": '""',
            "aclfile": str(self.acl), "appendonly": "yes", "maxmemory": "64mb", "databases": "16",
            "client-output-buffer-limit": "pubsub 32mb 8mb 60",
        }  # fmt: skip
        self.users = {"admin": (PASSWORD, "~* &* +@all"), "worker": ("w", "~celery -@all +get +@list")}
        self.password.write_text(PASSWORD + "\n")
        self.write()

    def text(self) -> str:
        return "".join(f"{name} {value}\n" for name, value in self.options.items())

    def write(self) -> None:
        self.conf.write_text(self.text())
        self.acl.write_text(
            "user default reset\n" + "".join(acl_line(name, *rest) for name, rest in self.users.items())
        )

    def start(self, *arguments: str) -> None:
        with (self.directory / "log").open("w") as log:
            self.process = subprocess.Popen(["redis-server", *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                with contextlib.closing(redis_live.Connection(self.socket, 5)) as connection:
                    connection.call("PING")
            except (OSError, redis_live.ReplyError) as error:
                if "NOAUTH" in str(error):
                    return
                assert self.process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()
            del self.process

    def ask(self, *words: str, user: str = "admin", password: str = PASSWORD) -> Any:
        connection = redis_live.log_in(self.socket, user, password, 5)
        try:
            return connection.call(*words)
        finally:
            connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start(str(server.conf))
    yield server
    server.stop()


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(server: Server, *, check: bool = False) -> dict[str, Any]:
        arguments = {
            "config": server.text(), "acl_file": str(server.acl), "password_file": str(server.password),
            "addresses": [server.socket], "_ansible_check_mode": check, "_ansible_diff": True,
        }  # fmt: skip
        with patch_module_args(arguments), pytest.raises(SystemExit):
            redis_live.main()
        out = capsys.readouterr().out
        assert PASSWORD not in out
        result: dict[str, Any] = json.loads(out)
        return result

    return run


def test_a_server_that_runs_its_files_is_left_alone(server: Server, run: Run) -> None:
    result = run(server)
    assert result["running"]
    assert not result["changed"]
    assert not result["restart_needed"]
    assert result["diff"] == {"before": "", "after": ""}


def test_what_can_change_live_is_set_without_a_restart(server: Server, run: Run) -> None:
    server.options["maxmemory"] = "128mb"
    result = run(server)
    assert result["changed"]
    assert result["options"] == ["maxmemory"]
    assert not result["restart_needed"]
    assert server.ask("CONFIG", "GET", "maxmemory") == ["maxmemory", str(128 * 2**20)]
    assert not run(server)["changed"]


def test_check_mode_tells_and_touches_nothing(server: Server, run: Run) -> None:
    server.options |= {"maxmemory": "128mb", "databases": "4"}
    result = run(server, check=True)
    assert result["changed"]
    assert result["options"] == ["maxmemory"]
    assert result["restart_reasons"] == ["databases"]
    assert result["diff"]["before"] == f"databases 16\nmaxmemory {64 * 2**20}\n"
    assert result["diff"]["after"] == f"databases 4\nmaxmemory {128 * 2**20}\n"
    assert server.ask("CONFIG", "GET", "maxmemory") == ["maxmemory", str(64 * 2**20)]


def test_a_static_option_needs_a_restart_until_there_was_one(server: Server, run: Run) -> None:
    server.options["databases"] = "4"
    for _ in range(2):  # a run that failed before its restart does not lose it
        result = run(server)
        assert result["restart_needed"]
        assert result["restart_reasons"] == ["databases"]
    server.write()
    server.stop()
    server.start(str(server.conf))
    assert not run(server)["restart_needed"]


def test_an_option_that_left_the_file_goes_back_to_its_default(server: Server, run: Run) -> None:
    server.ask("CONFIG", "SET", "maxclients", "77")
    server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    assert run(server)["options"] == ["client-output-buffer-limit", "maxclients"]
    assert server.ask("CONFIG", "GET", "maxclients") == ["maxclients", "10000"]


def certify(directory: Path, name: str = "certificate") -> dict[str, str]:
    """A new certificate and key in the same files each time, as options."""
    certificate = directory / f"{name}.pem"
    support.certify(certificate)
    files = {"cert": certificate, "key": certificate.with_suffix(".key"), "ca-cert": certificate}
    return {f"tls-{kind}-file": str(path) for kind, path in files.items()}


def shown(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def with_tls(server: Server, run: Run, directory: Path) -> tuple[int, dict[str, Any]]:
    """The port at which the server speaks TLS from now on, and what the module said of it."""
    port = free_port()
    own = {"bind": "127.0.0.1", "tls-port": str(port), "tls-auth-clients": "no"}
    server.options |= own | certify(directory)
    return port, run(server)


def test_tls_begins_and_ends_while_the_server_runs(server: Server, run: Run, tmp_path: Path) -> None:
    before = dict(server.options)
    port, result = with_tls(server, run, tmp_path)
    assert not result["restart_needed"]
    assert shown(port) == (tmp_path / "certificate.pem").read_text()
    assert not run(server)["changed"]
    server.options = before
    assert not run(server)["restart_needed"]
    assert not run(server)["changed"]
    with pytest.raises(ConnectionRefusedError):
        shown(port)


def test_a_new_certificate_is_shown_and_connections_stay(server: Server, run: Run, tmp_path: Path) -> None:
    port, _ = with_tls(server, run, tmp_path)
    context = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain) as held,
    ):
        old = shown(port)
        certify(tmp_path)
        assert run(server, check=True)["options"] == redis_live.CERTIFICATE
        assert shown(port) == old
        assert run(server)["options"] == redis_live.CERTIFICATE
        assert shown(port) == (tmp_path / "certificate.pem").read_text() != old
        assert not run(server)["changed"]
        held.sendall(b"PING\r\n")
        assert held.recv(100).startswith(b"-NOAUTH")


def test_a_key_that_is_anothers_changes_nothing(server: Server, run: Run, tmp_path: Path) -> None:
    port, _ = with_tls(server, run, tmp_path)
    old = shown(port)
    certify(tmp_path, "other")
    (tmp_path / "other.key").replace(tmp_path / "certificate.key")
    server.options["tls-protocols"] = "TLSv1.3"
    result = run(server)
    assert result["failed"]
    assert "TLS" in result["msg"]
    assert shown(port) == old


def test_a_value_that_the_server_refuses_fails_with_its_words(server: Server, run: Run) -> None:
    server.options["maxmemory-policy"] = "sometimes"
    result = run(server)
    assert result["failed"]
    assert "argument(s) must be one of" in result["msg"]
    assert server.ask("PING") == "PONG"


def test_users_change_while_their_connections_stay(server: Server, run: Run) -> None:
    connection = redis_live.log_in(server.socket, "worker", "w", 5)
    server.users["worker"] = ("new", "~celery ~email -@all +get +@list")
    server.users["client"] = ("c", "~x* &x* -@all +get (%W~celery +lpush +llen) (%R~y +@read -keys)")
    server.write()
    result = run(server)
    assert result["users"] == ["client", "worker"]
    assert not result["restart_needed"]
    assert connection.call("LLEN", "email") == 0
    connection.close()
    assert server.ask("LPUSH", "celery", "1", user="client", password="c") == 1
    with pytest.raises(redis_live.ReplyError, match="WRONGPASS"):
        redis_live.log_in(server.socket, "worker", "w", 5)
    assert not run(server)["changed"]


def test_a_user_that_left_the_file_is_gone(server: Server, run: Run) -> None:
    del server.users["worker"]
    server.write()
    result = run(server)
    assert result["users"] == ["worker"]
    assert server.ask("ACL", "USERS") == ["admin", "default"]


def test_a_user_that_somebody_reset_by_hand(server: Server, run: Run) -> None:
    server.ask("ACL", "SETUSER", "default", "reset", "on", "~*")
    assert run(server)["users"] == ["default"]
    assert not run(server)["changed"]


def test_hashes_are_masked_in_the_diff(server: Server, run: Run) -> None:
    server.users["worker"] = ("other", "~celery -@all +get +@list")
    server.write()
    diff = run(server, check=True)["diff"]
    assert diff["before"] != diff["after"]
    assert hashlib.sha256(b"other").hexdigest() not in json.dumps(diff)
    assert hashlib.sha256(b"other").hexdigest()[:4] in diff["after"]


def test_a_server_before_its_first_configuration(server: Server, run: Run) -> None:
    """As Debian starts it after the installation: no users, no append-only file, and perhaps data."""
    server.stop()
    shutil.rmtree(server.directory / "appendonlydir")
    server.start("--port", "0", "--unixsocket", server.socket, "--dir", str(server.directory))
    connection = redis_live.Connection(server.socket, 5)
    connection.call("SET", "kept", "1")
    connection.close()
    result = run(server)
    assert result["restart_needed"]
    assert "aclfile" in result["restart_reasons"]
    assert "appendonly" in result["options"]
    server.stop()  # as a crash would
    server.start(str(server.conf))
    assert server.ask("GET", "kept") == "1"
    assert not run(server)["changed"]


def test_a_server_that_refuses_the_admin_needs_a_restart(server: Server, run: Run) -> None:
    server.ask("ACL", "SETUSER", "admin", "reset", "on", ">other", "~*", "+@all")
    result = run(server)
    assert result["running"]
    assert result["restart_needed"]
    assert "WRONGPASS" in result["restart_reasons"][0]


def test_no_server(server: Server, run: Run) -> None:
    server.stop()
    result = run(server)
    assert not result["running"]
    assert not result["changed"]
    assert not result["restart_needed"]


def test_check_mode_on_a_virgin_host(tmp_path: Path, run: Run) -> None:
    server = Server(tmp_path)
    server.acl.unlink()
    result = run(server, check=True)
    assert result["changed"]
    assert not result["running"]


def test_what_the_file_says_of_its_own_place() -> None:
    said = redis_live.written('# port 1\nport 6380\nbind 1.2.3.4\nlogfile ""\n')
    assert said == {"port": "6380", "tls-port": "0", "unixsocket": "", "logfile": ""}
    assert redis_live.written("bind 1.2.3.4\n") == {"port": "6379", "tls-port": "0", "unixsocket": ""}
