"""What Jaeger is told."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from templates.rendering import evaluate, render, role_variables


def variables_of(**own: Any) -> dict[str, Any]:
    plan = {"address": "10.9.0.4", "tls": False}
    return role_variables("tracing") | {"celery_plan": plan, "tracing_jaeger_sha256": "0" * 64, **own}


@pytest.mark.parametrize(
    ("own", "by_tls"),
    [
        ({}, {"traces"}),
        ({"tracing_address": "127.0.0.1"}, set()),
        ({"tracing_address": "127.0.0.1", "tracing_ui_address": "0.0.0.0"}, {"ui"}),
        ({"tracing_ui_address": "10.9.0.4"}, {"traces", "ui"}),
    ],
)
def test_by_tls_where_others_reach_it(own: dict[str, Any], by_tls: set[str]) -> None:
    variables = variables_of(**own)
    for tls in (False, True):
        variables["celery_plan"]["tls"] = tls
        told = yaml.safe_load(render("tracing", "jaeger.yml.j2", variables))
        places = {
            "traces": told["receivers"]["otlp"]["protocols"]["http"],
            "ui": told["extensions"]["jaeger_query"]["http"],
        }
        assert {name for name, place in places.items() if "tls" in place} == (by_tls if tls else set())
        for place in places.values():
            if "tls" in place:
                assert place["tls"]["key_file"] == "/etc/celery-tracing/certificate.key"
    wanted = evaluate("__tracing_tls.values() is any", variables)
    assert wanted is bool(by_tls)
