"""The rules of role monitoring for a small fleet, and the tests of them that promtool runs."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from rules.cases import CASES, DEPEND, LABELS, Case
from templates.rendering import ROLES, evaluate, render, role_variables

ROLE = ROLES / "monitoring"
FILES = sorted(path.name.removesuffix(".j2") for path in (ROLE / "templates" / "rules").glob("*.yml.j2"))
ALERTS: dict[str, dict[str, Any]] = yaml.safe_load((ROLE / "files" / "alerts.yml").read_text())

QUEUES = {"email": {"urgency": "urgent"}, "celery": {"urgency": "standard"}, "reports": {"urgency": "bulk"}}
WORKERS = [
    {"worker": "default@worker1", "pool": "default", "hostname": "worker1", "queues": ["celery", "email"]},
    {"worker": "reports@worker2", "pool": "reports", "hostname": "worker2", "queues": ["reports"]},
]
HOSTS = {
    "redis": ["redis1"],
    "workers": ["worker1", "worker2"],
    "beat": ["monitor1"],
    "monitoring": ["monitor1"],
    "console": ["monitor1"],
    "flower": [],
    "edge": [],
}


def variables(directory: str, **more: Any) -> dict[str, Any]:
    """Those of the host of Prometheus."""
    addresses = {"redis1": "10.9.0.1", "worker1": "10.9.0.2", "worker2": "10.9.0.3", "monitor1": "10.9.0.4"}
    return role_variables("redis", "monitoring") | {
        "celery_plan": {
            "address": addresses["monitor1"],
            "addresses": addresses,
            "hosts": HOSTS,
            "redis": {"address": addresses["redis1"], "port": 6379, "tls": False},
            "tls": False,
            "topology": {"queues": QUEUES},
            "workers": WORKERS,
        },
        "inventory_hostname": "monitor1",
        "group_names": ["beat", "console", "monitoring"],
        "hostvars": {name: {} for name in addresses},
        "fleet_secrets_dir": directory,
        "inventory_dir": directory,
        "ansible_search_path": [str(ROLE)],
        **more,
    }


def rendered(**more: Any) -> dict[str, str]:
    """File name -> text of each file of rules."""
    with TemporaryDirectory() as directory:
        known = variables(directory, **more)
        names = ("__monitoring_alerts", "__monitoring_targets")
        known |= {name: evaluate(name, known) for name in names}  # once, and not at each place
        return {name: render("monitoring", f"rules/{name}.j2", known) for name in FILES}


@cache
def rules() -> Mapping[str, str]:
    """Those of the role's own settings."""
    return rendered()


@cache
def groups() -> list[dict[str, Any]]:
    """The groups of all files."""
    return [group for text in rules().values() for group in yaml.safe_load(text)["groups"]]


def alerting(name: str) -> list[dict[str, Any]]:
    """The rules of an alert."""
    return [rule for group in groups() for rule in group["rules"] if rule.get("alert") == name]


def needed(alert: str) -> str:
    """The rules of one alert, and the recording rules that they need: what promtool does not evaluate costs no time."""
    wanted = {alert}
    texts = [rule["expr"] for rule in alerting(alert)]
    while texts:
        names = set(re.findall(r"\b\w+:\w+:\w+\b", texts.pop())) - wanted
        wanted |= names
        texts += [
            rule["expr"] for group in groups() for rule in group["rules"] if rule.get("record") in names
        ]
    kept = [
        {"name": group["name"], "rules": [rule for rule in group["rules"] if _name(rule) in wanted]}
        for group in groups()
    ]
    return json.dumps({"groups": [group for group in kept if group["rules"]]}, indent=1)


def _name(rule: Mapping[str, str]) -> str:
    return rule.get("alert") or rule["record"]


@cache
def files() -> dict[str, str]:
    """File name -> text: the rules, and beside them what promtool is to run, in `test-*`."""
    found = dict(rules())
    for alert in dict.fromkeys(case.alert for case in CASES):
        files = list(rules())
        if alert:
            files = [f"only-{alert}.yml"]
            found[files[0]] = needed(alert)
        found[f"test-{alert or 'all'}.yml"] = _test(files, [case for case in CASES if case.alert == alert])
    return found


def _test(files: list[str], cases: list[Case]) -> str:
    order = [
        "sums",
        "short",
        "long",
        "longest",
        *(Path(name).stem for name in FILES if name != "recording.yml"),
    ]
    return json.dumps(
        {
            "rule_files": files,
            # Hours of it are judged by what hours of samples say.
            "evaluation_interval": "2m" if cases[0].alert.endswith("Burn") else "1m",
            "group_eval_order": order,
            "tests": [
                {
                    "name": f"{case.alert or 'all'}: {case.what}",
                    "interval": "1m",
                    "input_series": [{"series": key, "values": value} for key, value in case.series.items()],
                    "promql_expr_test": [
                        {
                            "eval_time": f"{minute}m",
                            "expr": _told(case.alert),
                            "exp_samples": [{"labels": labels, "value": 1} for labels in expected],
                        }
                        for minute, expected in case.told.items()
                    ],
                }
                for case in cases
            ],
        },
        indent=1,
    )


def _told(alert: str) -> str:
    name = f'alertname="{alert}"' if alert else 'alertname!="Watchdog"'
    by = (*LABELS, *(["depends"] if alert in DEPEND else [])) if alert else ("alertname",)
    return f'max by ({", ".join(by)}) (ALERTS{{{name},alertstate="firing"}})'


def promtool(
    directory: Path, *arguments: str, texts: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """In a directory with the rules and the tests of them, or with other files."""
    for name, text in (texts or files()).items():
        (directory / name).write_text(text)
    command = ["promtool", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
