"""The files of role monitoring, rendered from an inventory and given to promtool."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from templates.rendering import ROLES, evaluate, render, role_variables

HOSTS = {
    "redis": ["redis1"],
    "workers": ["worker1", "worker2", "monitor1"],
    "beat": ["monitor1"],
    "monitoring": ["monitor1"],
    "console": ["monitor1"],
    "flower": [],
    "edge": [],
}
ADDRESSES = {"redis1": "10.9.0.1", "worker1": "10.9.0.2", "worker2": "10.9.0.3", "monitor1": "10.9.0.4"}


def variables_of(host: str, tmp_path: Path, **more: Any) -> dict[str, Any]:
    plan = {
        "address": ADDRESSES[host],
        "addresses": ADDRESSES,
        "hosts": HOSTS,
        "redis": {"host": "redis1", "address": ADDRESSES["redis1"], "port": 6380, "tls": False},
        "tls": False,
        "redis_maxmemory": 2**28,
        "topology": {"queues": {"celery": {}}},
        "workers": [],
    } | more.pop("plan", {})
    return role_variables("redis", "monitoring") | {
        "celery_plan": plan,
        "ansible_facts": {"disk_total_mb": 10_000},
        "inventory_hostname": host,
        "group_names": [group for group, hosts in HOSTS.items() if host in hosts],
        "hostvars": {name: {} for name in ADDRESSES} | more.pop("hostvars", {}),
        "fleet_secrets_dir": str(tmp_path / "secrets"),
        "inventory_dir": str(tmp_path),
        "ansible_search_path": [str(ROLES / "monitoring")],
        **more,
    }


def targets(job: str, variables: dict[str, Any]) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = json.loads(
        render("monitoring", "targets.json.j2", variables | {"job": job})
    )
    return parsed


def arguments(text: str) -> list[str]:
    """ARGS as systemd splits it into the words of a command line."""
    line = next(line for line in text.splitlines() if line.startswith("ARGS="))
    return shlex.split(line.removeprefix("ARGS="))[0].split()


def test_every_host_is_a_target_with_its_name_and_groups(tmp_path: Path) -> None:
    found = targets("node", variables_of("monitor1", tmp_path))
    assert [(entry["targets"], entry["labels"]) for entry in found] == [
        (["10.9.0.1:9100"], {"instance": "redis1", "groups": "redis"}),
        (["10.9.0.2:9100"], {"instance": "worker1", "groups": "workers"}),
        (["10.9.0.3:9100"], {"instance": "worker2", "groups": "workers"}),
        (["10.9.0.4:9100"], {"instance": "monitor1", "groups": "beat,console,monitoring,workers"}),
    ]
    assert [entry["targets"] for entry in targets("redis", variables_of("monitor1", tmp_path))] == [
        ["10.9.0.1:9121"]
    ]


def test_a_host_that_left_the_inventory_is_no_target(tmp_path: Path) -> None:
    fewer = {name: address for name, address in ADDRESSES.items() if name != "worker2"}
    found = targets("node", variables_of("monitor1", tmp_path, plan={"addresses": fewer}))
    assert [entry["labels"]["instance"] for entry in found] == ["redis1", "worker1", "monitor1"]


def test_ports_and_addresses_of_single_hosts(tmp_path: Path) -> None:
    own = {"worker1": {"monitoring_node_exporter_port": 9200, "monitoring_exporter_address": "10.8.0.2"}}
    found = targets("node", variables_of("monitor1", tmp_path, hostvars=own))
    assert found[1]["targets"] == ["10.8.0.2:9200"]
    assert found[2]["targets"] == ["10.9.0.3:9100"]


@pytest.mark.parametrize(
    ("host", "packages", "units"),
    [
        ("worker1", [], []),
        ("redis1", ["prometheus-redis-exporter"], ["prometheus-redis-exporter.service"]),
        (
            "monitor1",
            ["prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter", "iputils-ping"],
            [
                "celery-exporter.service",
                "prometheus-blackbox-exporter.service",
                "prometheus.service",
                "prometheus-alertmanager.service",
            ],
        ),
    ],
)
def test_a_host_gets_what_its_groups_ask_for(
    tmp_path: Path, host: str, packages: list[str], units: list[str]
) -> None:
    variables = variables_of(host, tmp_path)
    everywhere = ["prometheus-node-exporter", "prometheus-process-exporter"]
    wanted = everywhere + packages
    everywhere = [f"{name}.service" for name in everywhere] + ["celery-certificate-expiry.timer"]
    assert evaluate("monitoring_packages", variables) == wanted
    assert [unit["name"] for unit in evaluate("__monitoring_units", variables)] == everywhere + units


def test_only_what_can_be_reloaded_is(tmp_path: Path) -> None:
    units = {
        unit["name"]: unit for unit in evaluate("__monitoring_units", variables_of("monitor1", tmp_path))
    }
    assert {name: unit["reload_on"][0] for name, unit in units.items() if "reload_on" in unit} == {
        "prometheus.service": "/etc/prometheus/prometheus.yml",
        "prometheus-alertmanager.service": "/etc/prometheus/alertmanager.yml",
        "prometheus-blackbox-exporter.service": "/etc/prometheus/blackbox.yml",
    }
    read = {*units["prometheus.service"]["reload_on"]}
    files = evaluate("__monitoring_files", variables_of("monitor1", tmp_path))
    assert {f["dest"] for f in files if f["dest"].startswith("/etc/prometheus/rules/")} <= read


def test_with_tls_exporters_ask_for_a_certificate_that_prometheus_shows(tmp_path: Path) -> None:
    variables = variables_of("monitor1", tmp_path, plan={"tls": True})
    given = [
        arguments(render("monitoring", f"{name}-exporter.default.j2", variables))[-1]
        for name in ("node", "process")
    ]
    assert given == ["--web.config.file=/etc/prometheus/exporters/web.yml"] * 2
    jobs = yaml.safe_load(render("monitoring", "prometheus.yml.j2", variables))["scrape_configs"]
    secured = {job["job_name"]: job["tls_config"] for job in jobs if job.get("scheme") == "https"}
    assert secured.keys() == {"node", "process", "redis"}
    assert all(tls.keys() == {"ca_file", "cert_file", "key_file"} for tls in secured.values())


def test_with_tls_who_is_reached_from_elsewhere_speaks_it(tmp_path: Path) -> None:
    """Prometheus is, Alertmanager is on loopback; the other way round; in clear neither."""
    elsewhere, server_name = (
        "10.9.0.4",
        {
            "ca_file": "/etc/ssl/celery-fleet/authority.pem",
            "server_name": "10.9.0.4",
        },
    )
    for tls, prometheus, alertmanager in (
        (True, elsewhere, "127.0.0.1"),
        (True, "127.0.0.1", elsewhere),
        (False, elsewhere, elsewhere),
    ):
        variables = variables_of(
            "monitor1",
            tmp_path,
            plan={"tls": tls},
            monitoring_prometheus_address=prometheus,
            monitoring_alertmanager_address=alertmanager,
        )
        secured = {
            service: tls and address == elsewhere
            for service, address in (("prometheus", prometheus), ("alertmanager", alertmanager))
        }
        for service, expected in secured.items():
            file = f"--web.config.file=/etc/prometheus/web{'-tls' if expected else ''}.yml"
            assert file in arguments(render("monitoring", f"{service}.default.j2", variables)), service
        config = yaml.safe_load(render("monitoring", "prometheus.yml.j2", variables))
        (alerting,) = config["alerting"]["alertmanagers"]
        assert alerting.get("tls_config") == (server_name if secured["alertmanager"] else None)
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        for service, expected in secured.items():
            assert jobs[service].get("scheme", "http") == ("https" if expected else "http")
            assert jobs[service].get("tls_config") == (server_name if expected else None)
            assert jobs[service]["basic_auth"]["username"] == "prometheus"
        amtool = yaml.safe_load(render("monitoring", "amtool-http.yml.j2", variables))
        assert amtool.get("tls_config") == (server_name if secured["alertmanager"] else None)
        files = {file["dest"] for file in evaluate("__monitoring_prometheus_files", variables)}
        assert ("/etc/prometheus/web-tls.yml" in files) is any(secured.values())
    web = yaml.safe_load(render("monitoring", "web-tls.yml.j2", variables))
    assert set(web) == {"basic_auth_users", "tls_server_config"}
    tls = variables["celery_plan"] | {"tls": True}
    unlocked = variables | {"monitoring_web_auth": False, "celery_plan": tls}
    assert set(yaml.safe_load(render("monitoring", "web-tls.yml.j2", unlocked))) == {"tls_server_config"}


def test_with_tls_the_fleets_own_exporter_and_consoles_speak_it_beyond_loopback(tmp_path: Path) -> None:
    own: dict[str, Any] = {"base_certificate_texts": {"certificate": "its certificate", "key": "its key"}}
    for tls, address in ((True, "10.9.0.4"), (True, "127.0.0.1"), (False, "10.9.0.4")):
        own["monitoring_celery_exporter_address"] = address
        variables = variables_of("monitor1", tmp_path, plan={"tls": tls}, **own)
        expected = tls and address == "10.9.0.4"
        told = render("monitoring", "exporter.env.j2", variables)
        assert ("CELERY_EXPORTER_CERTIFICATE_KEY_FILE" in told) is expected
        jobs = yaml.safe_load(render("monitoring", "prometheus.yml.j2", variables))["scrape_configs"]
        (job,) = [job for job in jobs if job["job_name"] == "celery"]
        assert (job.get("scheme") == "https") is expected
        files = {file["dest"]: file for file in evaluate("__monitoring_prometheus_files", variables)}
        assert ("/etc/celery-exporter/certificate.key" in files) is expected
        if expected:
            key = files["/etc/celery-exporter/certificate.key"]
            assert (key["content"], key["group"], key["mode"]) == ("its key", "celery-exporter", "0640")
            assert key["secret"]

    hosts = {"monitor1": {}, "worker1": {"console_listen": ["0.0.0.0:8000"]}}
    plan = {"hosts": HOSTS | {"console": list(hosts)}, "tls": True}
    found = targets("console", variables_of("monitor1", tmp_path, plan=plan, hostvars=hosts))
    schemes = {entry["targets"][0]: entry["labels"].get("__scheme__", "http") for entry in found}
    assert schemes == {"127.0.0.1:8000": "http", f"{ADDRESSES['worker1']}:8000": "https"}


def test_exporters_listen_in_the_fleet_only(tmp_path: Path) -> None:
    variables = variables_of("redis1", tmp_path)
    node = arguments(render("monitoring", "node-exporter.default.j2", variables))
    assert node[0] == "--web.listen-address=10.9.0.1:9100"
    redis = render("monitoring", "redis-exporter.default.j2", variables)
    assert arguments(redis) == ["--web.listen-address=10.9.0.1:9121"]
    assert "REDIS_ADDR=redis://127.0.0.1:6380\nREDIS_USER=exporter\n" in redis
    password = evaluate("redis_users.exporter.password", variables)
    assert f"REDIS_PASSWORD={password}\n" in redis
    assert password not in " ".join(arguments(redis))
    files = {file["dest"]: file for file in evaluate("__monitoring_files", variables)}
    assert files["/etc/default/prometheus-redis-exporter"]["mode"] == "0640"
    assert files["/etc/default/prometheus-redis-exporter"]["secret"] is True


def test_prometheus_listens_on_loopback(tmp_path: Path) -> None:
    found = arguments(render("monitoring", "prometheus.default.j2", variables_of("monitor1", tmp_path)))
    assert found == [
        "--web.listen-address=127.0.0.1:9090",
        "--web.config.file=/etc/prometheus/web.yml",
        "--web.enable-lifecycle",
        "--storage.tsdb.retention.time=15d",
        "--storage.tsdb.retention.size=4000MB",
    ]


def test_samples_leave_room_on_the_disk(tmp_path: Path) -> None:
    def size(disk: int, **own: Any) -> str:
        facts = {"ansible_facts": {"disk_total_mb": disk}}
        return str(
            evaluate("__monitoring_retention_size", variables_of("monitor1", tmp_path, **facts, **own))
        )

    assert size(100_000) == "5120MB"
    assert size(5_000) == "2000MB"
    assert size(5_000, monitoring_prometheus_retention_size="80GB") == "80GB"


def test_passwords_are_hashed_the_same_each_time(tmp_path: Path) -> None:
    variables = variables_of("monitor1", tmp_path)
    first = render("monitoring", "web.yml.j2", variables)
    assert first == render("monitoring", "web.yml.j2", variables)
    users = yaml.safe_load(first)["basic_auth_users"]
    assert users.keys() == {"operator", "console", "prometheus", "app"}
    assert len(set(users.values())) == len(users)
    for name, hashed in users.items():
        password = evaluate(f"monitoring_users.{name}.password", variables)
        assert bcrypt.checkpw(password.encode(), hashed.encode())
        assert password not in first
    (tmp_path / "web.yml").write_text(first)
    command = ["promtool", "check", "web-config", str(tmp_path / "web.yml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    without = render("monitoring", "web.yml.j2", variables | {"monitoring_web_auth": False})
    assert yaml.safe_load(without) == {}


def test_what_people_come_by_is_asked_for(tmp_path: Path) -> None:
    def asked(**own: Any) -> dict[str, str]:
        plan = {"hosts": HOSTS | {"edge": ["redis1"], "flower": ["worker1"]}}
        found = targets("http", variables_of("monitor1", tmp_path, plan=plan, hostvars={"redis1": own}))
        return {entry["labels"]["service"]: entry["targets"][0] for entry in found}

    assert asked() == {"console": "http://10.9.0.1:80/health", "flower": "http://10.9.0.1:5555/healthcheck"}
    assert asked(edge_certificate="x", edge_address="192.0.2.1", edge_flower_port=8443) == {
        "console": "https://192.0.2.1:443/health",
        "flower": "https://192.0.2.1:8443/healthcheck",
    }
    assert targets("http", variables_of("monitor1", tmp_path)) == [], "nobody comes by"


def test_tasks_may_write_targets_and_rules_where_there_are_workers(tmp_path: Path) -> None:
    place, rules = (f"/var/lib/celery-fleet/prometheus/{name}" for name in ("targets", "rules"))
    for host, there in (("monitor1", True), ("worker1", True), ("redis1", False)):
        files = {file["dest"]: file for file in evaluate("__monitoring_files", variables_of(host, tmp_path))}
        assert ({place, rules} <= files.keys()) == there
    conf = yaml.safe_load(render("monitoring", "prometheus.yml.j2", variables_of("monitor1", tmp_path)))
    app = next(job for job in conf["scrape_configs"] if job["job_name"] == "app")
    assert app["file_sd_configs"] == [{"files": [f"{place}/*.json"]}]
    assert conf["rule_files"] == ["/etc/prometheus/rules/*.yml", f"{rules}/*.yml"]


def promtool(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    command = ["promtool", "check", "config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


EXTRA = {
    "monitoring_prometheus_external_labels": {"fleet": "eu", "stage": "test"},
    "monitoring_prometheus_extra_scrape_configs": [
        {"job_name": "edge", "static_configs": [{"targets": ["10.9.0.9:80"], "labels": {"a": "b"}}]}
    ],
}


@pytest.mark.parametrize("more", [{}, EXTRA])
def test_promtool_takes_the_configuration(tmp_path: Path, more: dict[str, Any]) -> None:
    text = render("monitoring", "prometheus.yml.j2", variables_of("monitor1", tmp_path, **more))
    run = promtool(tmp_path / "prometheus.yml", text)
    assert run.returncode == 0, run.stdout + run.stderr
    conf = yaml.safe_load(text)
    jobs = [
        "prometheus",
        "alertmanager",
        "blackbox",
        "celery",
        "node",
        "process",
        "redis",
        "console",
        "ping",
        "http",
        "app",
    ]
    jobs += ["edge"] if more else []
    assert [job["job_name"] for job in conf["scrape_configs"]] == jobs
    assert conf["global"].get("external_labels", {}) == more.get("monitoring_prometheus_external_labels", {})


def test_the_console_is_a_target_where_it_can_be_reached(tmp_path: Path) -> None:
    def place(**own: Any) -> list[list[str]]:
        hosts = {"hostvars": {"monitor1": own, "worker1": own}}
        plan = {"hosts": HOSTS | {"console": ["monitor1", "worker1"]}}
        found = targets("console", variables_of("monitor1", tmp_path, plan=plan, **hosts))
        return [entry["targets"] for entry in found]

    assert place() == [["127.0.0.1:8000"]], "on loopback, only from its own host"
    both = ["127.0.0.1:8001", "10.9.0.2:8002"]
    assert place(console_listen=both) == [["127.0.0.1:8001"], ["10.9.0.2:8002"]]


def test_alerts_go_to_alertmanager(tmp_path: Path) -> None:
    variables = variables_of("monitor1", tmp_path, monitoring_alertmanager_port=9094)
    conf = yaml.safe_load(render("monitoring", "prometheus.yml.j2", variables))
    (manager,) = conf["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["127.0.0.1:9094"]}]
    assert manager["basic_auth"]["username"] == "prometheus"
    found = arguments(render("monitoring", "alertmanager.default.j2", variables))
    assert found == [
        "--web.listen-address=127.0.0.1:9094",
        "--web.config.file=/etc/prometheus/web.yml",
        "--cluster.listen-address=",
    ]
    receivers = yaml.safe_load(render("monitoring", "alertmanager.yml.j2", variables))
    assert receivers["route"]["receiver"] in [each["name"] for each in receivers["receivers"]]


def test_promtool_refuses_a_bad_interval(tmp_path: Path) -> None:
    variables = variables_of("monitor1", tmp_path, monitoring_prometheus_scrape_interval="often")
    run = promtool(tmp_path / "prometheus.yml", render("monitoring", "prometheus.yml.j2", variables))
    assert run.returncode == 1
    assert "often" in run.stdout + run.stderr


def grafana_files(tmp_path: Path, **more: Any) -> list[dict[str, Any]]:
    variables = variables_of("monitor1", tmp_path, role_path=str(ROLES / "monitoring"), **more)
    found: list[dict[str, Any]] = evaluate("__monitoring_files", variables)
    return [each for each in found if "grafana" in each["dest"]]


def test_a_grafana_is_left_alone_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert grafana_files(tmp_path) == []


def test_a_grafana_gets_the_dashboards_as_they_are_and_its_own_connection(tmp_path: Path) -> None:
    files = {each["dest"]: each for each in grafana_files(tmp_path, monitoring_grafana_provisioning=True)}
    source = files["/etc/grafana/provisioning/datasources/celery-fleet.yml"]
    assert (source["group"], source["mode"], source["secret"]) == ("grafana", "0640", True)
    dashboards = files["/var/lib/grafana/dashboards/celery-fleet/%i.json"]["each"]
    committed = ROLES.parents[1] / "deploy" / "grafana" / "dashboards"
    assert {f"{name}.json" for name in dashboards} == {path.name for path in committed.iterdir()}
    variables = variables_of("monitor1", tmp_path)
    for name, text in dashboards.items():
        item = {"item": {"key": name, "value": text}}
        written = render("monitoring", "grafana-dashboard.json.j2", variables | item)
        assert json.loads(written) == json.loads((committed / f"{name}.json").read_text())
        assert "{{queue_name}}" in written or name in ("redis", "hosts", "workers")


@pytest.mark.parametrize("asked", [True, False])
def test_grafana_asks_prometheus_as_an_operator_does(asked: bool, tmp_path: Path) -> None:
    variables = variables_of("monitor1", tmp_path, monitoring_web_auth=asked)
    text = render("monitoring", "grafana-datasource.yml.j2", variables)
    (source,) = yaml.safe_load(text)["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    assert source.get("basicAuth", False) == asked
    if asked:
        password = (tmp_path / "secrets" / "monitoring-operator").read_text().split()[0]
        assert source["secureJsonData"]["basicAuthPassword"] == password
