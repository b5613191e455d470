"""The files of the roles console, flower and edge, rendered from an inventory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from templates.rendering import ROLES, evaluate, render, role_variables

ADDRESSES = {"redis1": "10.9.0.1", "monitor1": "10.9.0.4", "edge1": "10.9.0.5"}
HERE = {"console": ["monitor1"], "flower": ["monitor1"], "edge": ["monitor1"], "monitoring": ["monitor1"]}


def variables_of(
    host: str, tmp_path: Path, groups: dict[str, list[str]] = HERE, **more: Any
) -> dict[str, Any]:
    hosts = {"console": [], "flower": [], "edge": [], "monitoring": [], **groups}
    return role_variables("redis", "console", "flower", "edge") | {
        "celery_plan": {
            "address": ADDRESSES[host],
            "addresses": ADDRESSES,
            "hosts": hosts,
            "redis": {"host": "redis1", "address": ADDRESSES["redis1"], "port": 6380, "tls": False},
            "tls": False,
            "topology": {"queues": {"celery": {}}},
            "tracing": False,
        },
        "inventory_hostname": host,
        "group_names": [group for group, members in hosts.items() if host in members],
        "hostvars": {name: {} for name in ADDRESSES} | more.pop("hostvars", {}),
        "fleet_secrets_dir": str(tmp_path / "secrets"),
        "inventory_dir": str(tmp_path),
        "ansible_search_path": [str(ROLES / "console")],
        **more,
    }


def environment(variables: dict[str, Any]) -> dict[str, str]:
    lines = render("console", "console.env.j2", variables).splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def nginx(variables: dict[str, Any]) -> list[str]:
    text = render("edge", "nginx.conf.j2", variables)
    assert text.count("{") == text.count("}")
    return [line.strip() for line in text.splitlines()]


class TestConsole:
    def test_keys_are_digests_of_what_the_controller_keeps(self, tmp_path: Path) -> None:
        more = {"alice": {"sha256": "ab" * 32, "role": "operator"}}
        keys = evaluate("__console_keys", variables_of("monitor1", tmp_path, console_keys=more))
        assert keys.pop("alice") == more["alice"]
        assert {name: key["role"] for name, key in keys.items()} == {
            "operator": "operator",
            "viewer": "viewer",
        }
        for name, key in keys.items():
            kept = (tmp_path / "secrets" / f"console-{name}").read_text().strip()
            assert len(kept) == 40
            assert key["sha256"] == hashlib.sha256(kept.encode()).hexdigest()

    def test_nothing_secret_is_in_its_environment(self, tmp_path: Path) -> None:
        variables = variables_of("monitor1", tmp_path)
        text = render("console", "console.env.j2", variables)
        evaluate("[__console_keys, __console_session_key, redis_users]", variables)
        for file in (tmp_path / "secrets").iterdir():
            assert file.read_text().strip() not in text
        assert environment(variables)["CELERY_BROKER_URL"] == '"redis://console@10.9.0.1:6380/0"'

    def test_its_traces_go_where_those_of_the_fleet_go(self, tmp_path: Path) -> None:
        variables = variables_of("monitor1", tmp_path)
        assert not [name for name in environment(variables) if "OTEL" in name or "TRACING" in name]
        assert evaluate("console_trace_url", variables) in ("", None)

        variables["celery_plan"]["tracing"] = {
            "endpoint": "http://10.9.0.5:4318",
            "sample_ratio": 0.5,
            "own": True,
        }
        variables["celery_plan"]["hosts"]["tracing"] = ["edge1"]
        found = environment(variables)
        assert found["CELERY_FLEET_TRACING"] == "on"
        assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == '"http://10.9.0.5:4318"'
        assert found["OTEL_TRACES_SAMPLER_ARG"] == "0.5"
        assert "CELERY_FLEET_TRACING_HEADERS_FILE" not in found
        assert evaluate("console_trace_url", variables) == "http://127.0.0.1:16686/trace/{trace_id}"

        text = render(
            "console", "console.env.j2", variables | {"celery_tracing_headers": {"x-key": "s3cret"}}
        )
        assert "CELERY_FLEET_TRACING_HEADERS_FILE=/etc/celery-console/tracing.headers" in text
        assert "s3cret" not in text

    def test_what_changes_the_topology_is_handed_on(self, tmp_path: Path) -> None:
        given = {"MAX_RETRIES": 7, "PROJ_SECRET": "x"}
        found = environment(variables_of("monitor1", tmp_path, celery_environment=given))
        assert found["MAX_RETRIES"] == '"7"'
        assert "PROJ_SECRET" not in found

    @pytest.mark.parametrize(
        ("groups", "trusted"),
        [
            ({"edge": []}, ""),
            ({"edge": ["monitor1"]}, "127.0.0.1,::1"),
            ({"edge": ["edge1"]}, "10.9.0.5"),
            ({"edge": ["edge1", "monitor1"]}, "10.9.0.5,127.0.0.1,::1"),
        ],
    )
    def test_believes_the_edge_alone(
        self, tmp_path: Path, groups: dict[str, list[str]], trusted: str
    ) -> None:
        found = environment(variables_of("monitor1", tmp_path, HERE | groups))
        assert found["CONSOLE_TRUSTED_PROXIES"] == trusted

    @pytest.mark.parametrize(
        ("groups", "own", "url"),
        [
            ({"monitoring": []}, {}, ""),
            ({"monitoring": ["monitor1"]}, {}, "http://127.0.0.1:9093"),
            ({"monitoring": ["redis1"]}, {}, ""),
            (
                {"monitoring": ["redis1"]},
                {"monitoring_alertmanager_address": "10.9.0.1", "monitoring_alertmanager_port": 9094},
                "http://10.9.0.1:9094",
            ),
        ],
    )
    def test_knows_what_it_can_reach(
        self, tmp_path: Path, groups: dict[str, list[str]], own: dict[str, Any], url: str
    ) -> None:
        found = environment(variables_of("monitor1", tmp_path, HERE | groups, hostvars={"redis1": own}))
        assert found["CONSOLE_ALERTMANAGER_URL"] == url
        assert "CONSOLE_MONITORING_CA_FILE" not in found

    @pytest.mark.parametrize(
        ("address", "url"),
        [
            ("10.9.0.1", "https://10.9.0.1:9093"),
            ("127.0.0.1", "http://127.0.0.1:9093"),
            ("0.0.0.0", "https://10.9.0.4:9093"),
        ],
    )
    def test_comes_by_tls_to_what_listens_elsewhere(self, tmp_path: Path, address: str, url: str) -> None:
        variables = variables_of(
            "monitor1",
            tmp_path,
            HERE | {"monitoring": ["monitor1"]},
            hostvars={"monitor1": {"monitoring_alertmanager_address": address}},
        )
        found = environment(variables | {"celery_plan": variables["celery_plan"] | {"tls": True}})
        assert found["CONSOLE_ALERTMANAGER_URL"] == url
        assert found["CONSOLE_MONITORING_CA_FILE"] == "/etc/ssl/celery-fleet/authority.pem"

    @pytest.mark.parametrize(
        ("own", "by_tls"),
        [
            ({}, False),
            ({"console_listen": ["127.0.0.1:8000", "[::1]:8000", "localhost:8001"]}, False),
            ({"console_listen": ["127.0.0.1:8000", "10.9.0.4:8000"]}, True),
        ],
    )
    def test_has_a_certificate_where_others_reach_it(
        self, tmp_path: Path, own: dict[str, Any], by_tls: bool
    ) -> None:
        clear = variables_of("monitor1", tmp_path, **own)
        secured = clear | {"celery_plan": clear["celery_plan"] | {"tls": True}}
        assert "CONSOLE_CERTIFICATE_FILE" not in environment(clear)
        assert ("CONSOLE_CERTIFICATE_KEY_FILE" in environment(secured)) is by_tls
        assert evaluate("__console_tls", secured) is by_tls

    def test_its_traces_go_by_tls_to_the_own_backend_of_a_fleet_with_tls(self, tmp_path: Path) -> None:
        variables = variables_of("monitor1", tmp_path)
        plan = variables["celery_plan"] | {"tls": True}
        plan["hosts"]["tracing"] = ["edge1"]
        plan["tracing"] = {"endpoint": "https://10.9.0.5:4318", "sample_ratio": 1.0, "own": True}
        variables |= {"celery_plan": plan, "hostvars": {"edge1": {"tracing_ui_address": "0.0.0.0"}}}
        trusted = "/etc/ssl/celery-fleet/authority.pem"
        assert environment(variables)["OTEL_EXPORTER_OTLP_CERTIFICATE"] == trusted
        assert evaluate("console_trace_url", variables) == "https://10.9.0.5:16686/trace/{trace_id}"
        plan["tracing"]["own"] = False
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" not in environment(variables), "that of others is public"

    def test_the_socket_has_every_address(self, tmp_path: Path) -> None:
        text = render("console", "celery-console.socket.j2", variables_of("monitor1", tmp_path))
        assert [line for line in text.splitlines() if line.startswith("ListenStream=")] == [
            "ListenStream=127.0.0.1:8000",
            "ListenStream=127.0.0.1:5001",
        ]


class TestFlower:
    def test_by_tls_where_others_reach_it(self, tmp_path: Path) -> None:
        for tls, address in ((True, "127.0.0.1"), (True, "10.9.0.4"), (False, "10.9.0.4")):
            variables = variables_of("monitor1", tmp_path, flower_address=address)
            variables["celery_plan"]["tls"] = tls
            found: dict[str, Any] = {}
            exec(render("flower", "flowerconfig.py.j2", variables), found)
            expected = "/etc/celery-flower/certificate.key" if tls and address == "10.9.0.4" else None
            assert found.get("keyfile") == expected

    def test_its_configuration_is_python_and_has_the_password(self, tmp_path: Path) -> None:
        found: dict[str, Any] = {}
        exec(render("flower", "flowerconfig.py.j2", variables_of("monitor1", tmp_path)), found)
        password = (tmp_path / "secrets" / "flower").read_text().strip()
        assert found["basic_auth"] == [f"flower:{password}"]
        assert (found["address"], found["port"]) == ("127.0.0.1", 5555)
        assert (found["persistent"], found["max_tasks"]) == (True, 10000)

    def test_the_password_is_nowhere_else(self, tmp_path: Path) -> None:
        variables = variables_of("monitor1", tmp_path)
        password = evaluate("__flower_password", variables)
        for name in ("flower.env.j2", "celery-flower.service.j2"):
            assert password not in render("flower", name, variables)


class TestEdge:
    def test_plain_without_a_certificate(self, tmp_path: Path) -> None:
        lines = nginx(variables_of("monitor1", tmp_path))
        assert [line for line in lines if line.startswith("listen")] == [
            "listen 10.9.0.4:80;",
            "listen 10.9.0.4:5555;",
        ]
        assert "proxy_pass http://127.0.0.1:8000;" in lines
        assert "proxy_pass http://127.0.0.1:5555;" in lines
        assert not [line for line in lines if "ssl" in line]

    def test_leaves_flower_alone_where_it_has_the_port_itself(self, tmp_path: Path) -> None:
        lines = nginx(variables_of("monitor1", tmp_path, edge_address="127.0.0.1"))
        assert [line for line in lines if line.startswith("listen")] == ["listen 127.0.0.1:80;"]

    def test_all_tls_with_one(self, tmp_path: Path) -> None:
        files = {"edge_certificate": "/x/chain.pem", "edge_certificate_key": "/x/key.pem"}
        lines = nginx(variables_of("monitor1", tmp_path, edge_address="203.0.113.9", **files))
        assert [line for line in lines if line.startswith("listen")] == [
            "listen 203.0.113.9:80;",
            "listen 203.0.113.9:443 ssl;",
            "listen 203.0.113.9:5555 ssl;",
        ]
        assert "return 301 https://$host$request_uri;" in lines

    def test_operators_come_to_prometheus_where_there_is_a_port(self, tmp_path: Path) -> None:
        ports = {"edge_prometheus_port": 9443, "edge_alertmanager_port": 9444}
        lines = nginx(variables_of("monitor1", tmp_path, **ports))
        assert {"listen 10.9.0.4:9443;", "listen 10.9.0.4:9444;"} <= {*lines}
        assert {"proxy_pass http://127.0.0.1:9090;", "proxy_pass http://127.0.0.1:9093;"} <= {*lines}
        # From another host only what does not listen on loopback alone
        elsewhere = HERE | {"edge": ["edge1"]}
        assert not [
            line for line in nginx(variables_of("edge1", tmp_path, elsewhere, **ports)) if ":944" in line
        ]

    def test_by_tls_it_goes_to_who_is_on_another_host(self, tmp_path: Path) -> None:
        own = {
            "console_listen": ["127.0.0.1:8000", "0.0.0.0:8001"],
            "flower_address": "0.0.0.0",
            "flower_port": 5556,
        }
        groups = HERE | {"edge": ["monitor1", "edge1"]}
        certificate = {"edge_certificate": "/x/chain.pem", "edge_certificate_key": "/x/key.pem"}

        def passed_to(host: str) -> tuple[set[str], set[str]]:
            given = variables_of(host, tmp_path, groups, hostvars={"monitor1": own}, **certificate)
            lines = nginx(given | {"celery_plan": given["celery_plan"] | {"tls": True}})
            names = {line for line in lines if line.startswith("proxy_ssl_name")}
            return {line for line in lines if line.startswith("proxy_pass")}, names

        flower = "proxy_pass https://10.9.0.4:5556;"
        assert passed_to("monitor1")[0] == {"proxy_pass http://127.0.0.1:8000;", flower}
        away, names = passed_to("edge1")
        assert away == {"proxy_pass https://10.9.0.4:8001;", flower}
        assert names == {"proxy_ssl_name monitor1;"}

    def test_with_tls_what_was_a_port_of_the_console_stays_one(self, tmp_path: Path) -> None:
        files = {"edge_certificate": "/x/chain.pem", "edge_certificate_key": "/x/key.pem"}
        given = variables_of("monitor1", tmp_path, edge_console_ports=[80, 8000], edge_flower_port=0, **files)
        lines = nginx(given)
        assert [line for line in lines if line.startswith("listen")] == [
            "listen 10.9.0.4:80;",
            "listen 10.9.0.4:443 ssl;",
            "listen 10.9.0.4:8000 ssl;",
        ]

    def test_streams_are_not_held_back(self, tmp_path: Path) -> None:
        text = "\n".join(nginx(variables_of("monitor1", tmp_path)))
        stream = text.split("location = /api/v1/events {")[1].split("}")[0]
        assert "proxy_buffering off;" in stream
        assert "proxy_read_timeout 1h;" in stream
        assert text.count("return 404;") == 1, "/metrics of Flower, which asks nobody for a password"

    def test_only_what_keeps_no_secret_is_compressed(self, tmp_path: Path) -> None:
        text = "\n".join(nginx(variables_of("monitor1", tmp_path)))
        assert text.count("gzip on;") == 1
        assert "gzip on;" in text.split("location ~ ^/(static/|api/v1/charts$) {")[1].split("}")[0]

    @pytest.mark.parametrize(
        ("own", "upstream"),
        [
            ({}, None),
            ({"console_listen": ["127.0.0.1:8000", "10.9.0.4:8000"]}, "10.9.0.4:8000"),
        ],
    )
    def test_a_console_elsewhere_has_to_be_reachable(
        self, tmp_path: Path, own: dict[str, Any], upstream: str | None
    ) -> None:
        groups = HERE | {"edge": ["edge1"], "flower": []}
        lines = nginx(variables_of("edge1", tmp_path, groups, hostvars={"monitor1": own}))
        passed = {line for line in lines if line.startswith("proxy_pass")}
        assert passed == ({f"proxy_pass http://{upstream};"} if upstream else set())

    @pytest.mark.parametrize(
        ("groups", "own", "more", "told"),
        [
            (HERE, {}, {}, ""),
            ({"console": [], "flower": []}, {}, {}, ""),
            ({"flower": []}, {}, {}, "add 10.9.0.4:8000 to console_listen of monitor1, or leave"),
            ({"flower": []}, {"console_listen": ["10.9.0.4:8000"]}, {}, ""),
            (
                {"console": []},
                {},
                {},
                "set flower_address of monitor1 to 10.9.0.4, or edge_flower_port of edge1 to 0",
            ),
            ({"console": []}, {}, {"edge_flower_port": 0}, ""),
            ({"console": []}, {"flower_address": "0.0.0.0"}, {}, ""),
            ({}, {}, {"edge_console_upstream": "10.8.0.1:80", "edge_flower_port": 0}, ""),
        ],
    )
    def test_what_it_cannot_reach_is_told(
        self,
        tmp_path: Path,
        groups: dict[str, list[str]],
        own: dict[str, Any],
        more: dict[str, Any],
        told: str,
    ) -> None:
        host, place = ("monitor1", HERE) if groups is HERE else ("edge1", HERE | {"edge": ["edge1"]} | groups)
        variables = variables_of(host, tmp_path, place, hostvars={"monitor1": own}, **more)
        said = str(evaluate("__edge_unreached", variables) or "")
        assert told in said
        assert bool(said) is bool(told)


def test_the_units_name_the_current_release(tmp_path: Path) -> None:
    variables = variables_of("monitor1", tmp_path)
    console = render("console", "celery-console.service.j2", variables)
    assert "ExecStart=/opt/fleet-console/current/bin/python -m celery_fleet.console\n" in console
    flower = render("flower", "celery-flower.service.j2", variables)
    assert "ExecStart=/opt/fleet-flower/current/bin/celery -A celery_fleet.bare flower" in flower
    topology = json.loads(evaluate("celery_plan.topology | to_nice_json(sort_keys=true)", variables))
    assert topology == {"queues": {"celery": {}}}
