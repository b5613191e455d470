"""The OpenAPI document, taken at its word: whatever it allows, and much that it does not, is answered as it says."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from integration.console.conftest import OPERATOR, Desk

HEADERS = {"X-API-Key": OPERATOR}
ENDLESS = "/api/v1/events"

EXAMPLES = 25
"""Of each operation; always the same."""


def test_answers_are_those_of_the_document(desk: Desk) -> None:
    document = schemathesis.openapi.from_url(f"{desk.url}/api/v1/openapi.json", headers=HEADERS)
    operations = [found.ok() for found in document.exclude(path=ENDLESS).get_all_operations()]
    assert len(operations) > 30
    problems = [f"{each.label}: {problem}" for each in operations for problem in tried(each)]
    assert not problems, "\n\n".join(problems)


def tried(operation: schemathesis.APIOperation) -> list[str]:
    """What is wrong with the answers to calls of it."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        response = case.call(headers=HEADERS)
        # No schema says which tasks there are, or what fits them.
        excluded = [positive_data_acceptance]
        if response.status_code == 503 and response.json()["code"] == "no_alertmanager":
            excluded.append(not_a_server_error)
        case.validate_response(response, excluded_checks=excluded)

    try:
        check()
    except FailureGroup as group:
        return [str(each) for each in group.exceptions]
    return []
