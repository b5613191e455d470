"""What every answer has, who may ask, and what the console does when Redis is away."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from celery_fleet.console.application import create_app
from celery_fleet.console.settings import Settings
from integration.console.conftest import KEYS, OPERATOR, Desk, client_of, keys_file, served

TASK = "7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55"


@pytest.fixture
def browser(desk: Desk) -> Iterator[httpx.Client]:
    """Without a key."""
    with client_of(desk.url) as made:
        yield made


def log_in(browser: httpx.Client, desk: Desk) -> str:
    """Logs in as the page does, and returns the token of the session."""
    answer = browser.post("/ui/login", data={"key": OPERATOR})
    assert answer.status_code == 303, answer.text
    session = desk.app.state.gate.session_of(browser.cookies["fleet_session"])
    return str(session.csrf)


def test_an_error_has_one_shape_and_a_request_id(
    client: httpx.Client, viewer: httpx.Client, browser: httpx.Client
) -> None:
    answers = {
        401: browser.get("/api/v1/tasks"),
        403: viewer.delete(f"/api/v1/tasks/{TASK}"),
        404: client.get(f"/api/v1/tasks/{TASK}"),
        405: client.put("/api/v1/tasks"),
        422: client.get("/api/v1/tasks?limit=0"),
    }
    for status, answer in answers.items():
        said = answer.json()
        assert answer.status_code == status
        assert said["detail"]
        assert said["code"]
        assert said["request_id"] == answer.headers["X-Request-ID"]
    assert "X-API-Key" in answers[401].json()["detail"]
    assert answers[401].headers["WWW-Authenticate"] == "Bearer"
    assert "operator" in answers[403].json()["detail"]
    assert answers[422].json()["errors"] == [
        {"field": "limit", "message": "Input should be greater than or equal to 1"}
    ]


def test_a_sane_request_id_is_taken_over_and_another_is_not(client: httpx.Client) -> None:
    ask = lambda told: client.get("/api/v1/tasks", headers={"X-Request-ID": told}).headers["X-Request-ID"]  # noqa: E731
    assert ask("abc-1.2:3") == "abc-1.2:3"
    assert ask("a b<script>") != "a b<script>"
    assert len(ask("a" * 101)) == 32


def test_answers_keep_browsers_safe(client: httpx.Client) -> None:
    headers = client.get("/api/v1/tasks").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": OPERATOR},
        {"Authorization": f"Bearer {OPERATOR}"},
        {"authorization": f"bearer {OPERATOR}"},
    ],
)
def test_a_key_opens_in_each_of_its_headers(browser: httpx.Client, headers: dict[str, str]) -> None:
    assert browser.get("/api/v1/tasks", headers=headers).status_code == 200


def test_a_wrong_key_opens_nothing_even_beside_a_session(browser: httpx.Client, desk: Desk) -> None:
    log_in(browser, desk)
    assert browser.get("/api/v1/tasks").status_code == 200
    assert browser.get("/api/v1/tasks", headers={"X-API-Key": "wrong"}).status_code == 401


def test_a_session_acts_only_with_its_token(browser: httpx.Client, desk: Desk) -> None:
    token = log_in(browser, desk)
    refused = browser.delete(f"/api/v1/tasks/{TASK}")
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf")
    assert browser.delete(f"/api/v1/tasks/{TASK}", headers={"X-CSRF-Token": token}).status_code == 404
    other = browser.delete(
        f"/api/v1/tasks/{TASK}", headers={"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}
    )
    assert (other.status_code, other.json()["code"]) == (403, "other_site")


def test_a_session_ends_with_its_key(browser: httpx.Client, desk: Desk, tmp_path: Path) -> None:
    log_in(browser, desk)
    changed = {**KEYS, "ann": ("another-key", "operator")}
    time.sleep(0.01)
    keys_file(tmp_path, changed)
    desk.app.state.gate._keys._looked -= 10  # as if two seconds had passed
    assert browser.get("/api/v1/tasks").status_code == 401
    assert browser.get("/api/v1/tasks", headers={"X-API-Key": "another-key"}).status_code == 200


def test_a_page_sends_who_is_not_logged_in_to_the_login(browser: httpx.Client) -> None:
    answer = browser.get("/ui/tasks?state=failed")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/ui/login?next=/ui/tasks%3Fstate%3Dfailed"


def test_a_long_body_is_refused_whatever_its_headers_say(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    told = client.post("/api/v1/tasks", content=b" " * (1 << 21))
    streamed = client.post("/api/v1/tasks", content=pieces(), headers={"Content-Type": "application/json"})
    for answer in (told, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "data", ['"\\ud800"', "NaN", "[" * 400 + "]" * 400, '"\\u0000"', "12345678901234567890123"]
)
def test_strange_data_is_taken_and_found_again(client: httpx.Client, data: str) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    ask = lambda: client.post("/tasks", content=f'{{"type": "process", "data": {data}}}', headers=headers)  # noqa: E731
    first, second = ask(), ask()
    assert first.status_code == 202, first.text
    assert first.json() == second.json()
    found = client.get(f"/tasks/{first.json()['task_id']}")
    assert (found.status_code, found.json()["status"]) == (200, "PENDING")
    assert len(client.get("/tasks", params={"state": "pending"}).json()["tasks"]) == 1


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"type": "process", "data": ' + "[" * 100_000, "9" * 5000, "", "null", "[]"]
)
def test_what_is_no_request_is_refused(client: httpx.Client, body: str) -> None:
    answer = client.post("/tasks", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_who_asks_too_often_is_told_when_to_come_back(settings: dict[str, str]) -> None:
    app = create_app(Settings.read({**settings, "CONSOLE_RATE": "0.5"}))
    with served(app) as url, client_of(url, OPERATOR) as client:
        answers = [client.get("/api/v1/tasks/types") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert client.get("/static/nothing").status_code == 404


def test_the_document_describes_every_route_once(client: httpx.Client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    assert all(path.startswith("/api/v1/") or path in ("/health", "/metrics") for path in document["paths"])
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert all(each.get("summary") and each.get("tags") for each in operations)
    assert {"key", "bearer"} <= set(document["components"]["securitySchemes"])
    submit = document["paths"]["/api/v1/tasks"]["post"]
    assert "examples" in submit["requestBody"]["content"]["application/json"]
    assert submit["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")


def test_without_redis_everything_says_so_and_nothing_is_a_fault(client: httpx.Client, desk: Desk) -> None:
    assert client.get("/api/v1/tasks").status_code == 200
    assert client.post("/api/v1/tasks", json={"type": "process"}).status_code == 202
    desk.server.stop()
    try:
        for path in ("tasks", f"tasks/{TASK}", "tasks/metrics", "tasks/health", "tasks/types"):
            answer = client.get(f"/api/v1/{path}")
            assert (answer.status_code, answer.json()["code"]) == (503, "redis_away"), path
            assert answer.headers["Retry-After"]
        assert client.post("/api/v1/tasks", json={"type": "process"}).status_code == 503
        assert client.delete(f"/api/v1/tasks/{TASK}").status_code == 503
    finally:
        desk.server.start()
    assert client.get("/api/v1/tasks").status_code == 200
    assert client.post("/api/v1/tasks", json={"type": "process"}).status_code == 202


def test_connections_that_redis_has_closed_are_opened_again(client: httpx.Client, desk: Desk) -> None:
    submit = lambda: client.post("/api/v1/tasks", json={"type": "process"}).status_code  # noqa: E731
    assert submit() == 202
    with desk.server.client() as redis:
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert submit() == 202
    assert len(client.get("/tasks", params={"state": "pending"}).json()["tasks"]) == 2
