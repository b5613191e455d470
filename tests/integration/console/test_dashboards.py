"""Dashboards by the API and the pages, from a real Prometheus with a written past."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from celery_fleet.panels import DASHBOARDS
from celery_fleet.panels.model import STAT, TABLE
from celery_fleet.panels.queries import MOST_POINTS, RANGES
from integration.console.conftest import Desk, client_of
from integration.support import RedisServer, certify, free_port
from prometheus import PASSWORD, USER, PrometheusServer

REST = 4
"""Seconds: one that did not answer is left alone for three."""
QUEUES = ("celery", "email", 'odd".*{}')
"""One is named as nobody would name it."""


def past(now: float) -> str:
    """Half an hour of samples, one in fifteen seconds, as OpenMetrics has it."""
    times = [now - 1800 + 15 * step for step in range(120)]
    lines: list[str] = []

    def metric(name: str, kind: str, samples: list[tuple[str, Callable[[float], float]]]) -> None:
        lines.append(f"# TYPE {name} {kind}")
        for labels, value in samples:
            suffix = "_total" if kind == "counter" else ""
            lines.extend(f"{name}{suffix}{{{labels}}} {value(at)} {at:.3f}" for at in times)

    def of(queue: str, more: str = "") -> str:
        name = queue.replace('"', r"\"")
        return f'queue_name="{name}"{more}'

    metric(
        "celery_queue_length", "gauge", [(of(queue), lambda _, n=n: n) for n, queue in enumerate(QUEUES, 1)]
    )
    metric("celery_queue_paused", "gauge", [(of(queue), lambda _: 0) for queue in QUEUES])
    target = ',indicator="queueing",urgency="urgent"'
    metric("celery_queue_slo_target_seconds", "gauge", [(of("celery", target), lambda _: 10)])
    metric(
        "celery_task_succeeded",
        "counter",
        [(of("celery", f',name="app.t{n}",worker="w@h"'), lambda at: at - now + 1800) for n in range(40)],
    )
    lines.append("# TYPE celery_task_queue_wait_time histogram")
    for at in times:
        done = at - now + 1800
        for bound, share in (("5.0", 0.25), ("10.0", 0.75), ("+Inf", 1.0)):
            bucket = of("celery", f',name="app.a",le="{bound}"')
            lines.append(f"celery_task_queue_wait_time_bucket{{{bucket}}} {done * share} {at:.3f}")
        for suffix in ("count", "sum"):
            lines.append(
                f'celery_task_queue_wait_time_{suffix}{{{of("celery")},name="app.a"}} {done} {at:.3f}'
            )
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    made = PrometheusServer(tmp_path_factory.mktemp("prometheus"), locked=True)
    made.remember(past(time.time()))
    yield made.start()
    made.stop()


@pytest.fixture
def watched(settings: dict[str, str], server: PrometheusServer, tmp_path: Path) -> dict[str, str]:
    """The console has this Prometheus, and may ask it."""
    (tmp_path / "monitoring.password").write_text(f"{PASSWORD}\n")
    settings["CONSOLE_PROMETHEUS_URL"] = server.url
    settings["CONSOLE_MONITORING_USER"] = USER
    settings["CONSOLE_MONITORING_PASSWORD_FILE"] = str(tmp_path / "monitoring.password")
    return settings


def panel(client: httpx.Client, name: str, **asked: Any) -> dict[str, Any]:
    answer = client.get(f"/api/v1/dashboards/{name}", params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def latest(found: dict[str, Any]) -> dict[str, float]:
    """The last value of each line that has one."""
    return {
        each["label"]: [value for value in each["values"] if value is not None][-1]
        for each in found["series"]
    }


@pytest.mark.usefixtures("watched")
class TestWithPrometheus:
    def test_all_dashboards_and_what_can_be_chosen(self, client: httpx.Client) -> None:
        names = [each["name"] for each in client.get("/api/v1/dashboards").json()["dashboards"]]
        assert names == [each.name for each in DASHBOARDS]
        found = panel(client, "queues", queue="email")
        assert (found["available"], found["reason"]) == (True, "")
        (queue,) = found["variables"]
        assert queue["values"] == sorted(QUEUES)
        assert queue["chosen"] == ["email"]
        assert found["ranges"] == list(RANGES)
        assert panel(client, "fleet")["available"], "one without variables, too"

    def test_every_panel_is_answered(self, client: httpx.Client) -> None:
        for dashboard in DASHBOARDS:
            for each in dashboard.panels:
                found = panel(client, f"{dashboard.name}/panels/{each.id}")
                assert (found["available"], found["reason"]) == (True, ""), each.id
                assert len(found["at"]) <= MOST_POINTS + 1
                assert all(len(line["values"]) == len(found["at"]) for line in found["series"])

    def test_lines_have_the_values_of_their_times(self, client: httpx.Client) -> None:
        found = panel(client, "queues/panels/length", range="15m")
        assert latest(found) == {"celery": 1, "email": 2, 'odd".*{}': 3}
        assert found["step"] == 15
        assert [at % 15 for at in found["at"]] == [0] * len(found["at"])
        assert 60 <= len(found["at"]) <= 61
        assert abs(found["at"][-1] - time.time()) < 40
        week = panel(client, "queues/panels/length", range="7d")
        assert week["step"] == 1800
        assert len(week["at"]) == 337

    def test_a_rate_a_number_and_levels(self, client: httpx.Client) -> None:
        (number,) = panel(client, "fleet/panels/waiting")["series"]
        assert number["values"] == [6]
        age = panel(client, "queues/panels/wait")
        assert [(each["label"], each["level"]) for each in age["series"]][-1] == ("urgent", True)
        half = next(each for each in age["series"] if each["label"] == "Wait, half")
        assert max(value for value in half["values"] if value) == pytest.approx(7.5, abs=0.1)

    def test_a_table_is_joined_by_its_labels(self, client: httpx.Client) -> None:
        found = panel(client, "queues/panels/levels")
        assert [each["title"] for each in found["columns"]][:3] == [
            "Queue",
            "To start within",
            "Started in time",
        ]
        rows = {row[0]: row[1:] for row in found["rows"]}
        assert rows["celery"][:2] == [10, pytest.approx(0.75, abs=0.02)], (
            "three of four started within ten seconds"
        )
        assert rows["email"][:2] == [None, None]
        assert rows["email"][5] == 2

    def test_a_chosen_value_matches_itself_alone(self, client: httpx.Client) -> None:
        for queue in QUEUES:
            assert list(latest(panel(client, "queues/panels/length", queue=queue))) == [queue]

    def test_several_can_be_chosen_and_an_empty_choice_means_all(self, client: httpx.Client) -> None:
        chosen = {"queue": ["email", "celery"]}
        assert sorted(latest(panel(client, "queues/panels/length", **chosen))) == ["celery", "email"]
        assert len(latest(panel(client, "queues/panels/length", queue=""))) == 3

    def test_what_is_not_known_is_refused(self, client: httpx.Client) -> None:
        for path, status in {
            "nobody": 404,
            "queues/panels/nobody": 404,
            "queues/panels/length?queue=nobody": 404,
            'queues/panels/length?queue=x"} or vector(1) or x{y="': 404,
            "queues/panels/length?range=1y": 422,
            "queues/panels/length?range=up": 422,
        }.items():
            answer = client.get(f"/api/v1/dashboards/{path}")
            assert answer.status_code == status
            assert set(answer.json()) >= {"detail", "code", "request_id"}

    def test_no_query_comes_from_the_browser(self, client: httpx.Client) -> None:
        more = {"query": "vector(42)", "expr": "vector(42)", "match[]": "up"}
        assert latest(panel(client, "queues/panels/length", **more)).keys() == set(QUEUES)

    def test_who_may_look_may_see_them_and_nobody_else(self, desk: Desk, viewer: httpx.Client) -> None:
        assert panel(viewer, "queues/panels/length")["series"]
        with client_of(desk.url) as stranger:
            for path in ("", "/queues", "/queues/panels/length"):
                assert stranger.get(f"/api/v1/dashboards{path}").status_code == 401
            assert stranger.get("/api/v1/deploys").status_code == 401

    def test_the_page_names_every_panel(self, viewer: httpx.Client) -> None:
        for dashboard in DASHBOARDS:
            page = viewer.get(f"/ui/metrics/{dashboard.name}", params={"range": "6h"})
            assert page.status_code == 200
            for each in dashboard.panels:
                assert f'data-panel="{each.id}"' in page.text
        chosen = viewer.get("/ui/metrics/queues", params={"queue": "email", "range": "nonsense"}).text
        assert 'data-query="range=1h&amp;queue=email"' in chosen
        assert "<option selected>email</option>" in chosen
        assert viewer.get("/ui/metrics").headers["location"] == "/ui/metrics/fleet"
        assert viewer.get("/ui/metrics/nobody").status_code == 404

    def test_the_page_is_there_without_redis(self, client: httpx.Client, desk: Desk) -> None:
        def away(*_: Any) -> Any:
            raise redis.ConnectionError("away")

        desk.fleet.deploys.list = away  # type: ignore[method-assign]
        assert client.get("/ui/metrics/fleet").status_code == 200


def test_without_a_prometheus(client: httpx.Client) -> None:
    found = panel(client, "queues/panels/length")
    assert (found["available"], found["series"]) == (False, [])
    assert "CONSOLE_PROMETHEUS_URL" in found["reason"]
    assert not panel(client, "queues")["available"]
    assert "No Prometheus is configured" in client.get("/ui/metrics/queues").text


def test_one_that_refuses_the_password(
    settings: dict[str, str], server: PrometheusServer, request: pytest.FixtureRequest
) -> None:
    settings["CONSOLE_PROMETHEUS_URL"] = server.url
    found = panel(request.getfixturevalue("client"), "fleet/panels/waiting")
    assert not found["available"]
    assert "401" in found["reason"]


def test_one_that_is_not_there(settings: dict[str, str], request: pytest.FixtureRequest) -> None:
    settings["CONSOLE_PROMETHEUS_URL"] = f"http://127.0.0.1:{free_port()}"
    client = request.getfixturevalue("client")
    for _ in range(3):
        found = panel(client, "fleet/panels/waiting")
        assert "ConnectError" in found["reason"]
    page = client.get("/ui/metrics/queues").text
    assert "ConnectError" in page


class _Counting(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.answer = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'


class _Handler(BaseHTTPRequestHandler):
    server: _Counting

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        time.sleep(0.3)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def counting(settings: dict[str, str]) -> Iterator[_Counting]:
    """A slow one, which counts."""
    server = _Counting()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings["CONSOLE_PROMETHEUS_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def at_once(count: int, do: Callable[[], Any]) -> list[Any]:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(do())) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return answers


def test_many_who_look_at_the_same_cost_as_much_as_one(counting: _Counting, client: httpx.Client) -> None:
    answers = at_once(8, lambda: client.get("/api/v1/dashboards/fleet/panels/backlog").status_code)
    assert answers == [200] * 8
    assert len(counting.asked) == 1
    assert "query=celery_queue_length" in counting.asked[0]
    assert "timeout=5s" in counting.asked[0]


def test_an_answer_that_is_too_large_is_not_taken(counting: _Counting, client: httpx.Client) -> None:
    counting.answer = b" " * (17 * 1024 * 1024)
    assert "larger than 16 MiB" in panel(client, "fleet/panels/backlog")["reason"]


def test_an_answer_that_is_none_is_said(counting: _Counting, client: httpx.Client) -> None:
    counting.answer = b"<html>a proxy's page</html>"
    assert "cannot be read" in panel(client, "fleet/panels/backlog")["reason"]


def test_one_that_never_answers_holds_nobody_else_up(
    settings: dict[str, str], request: pytest.FixtureRequest
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings["CONSOLE_PROMETHEUS_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client: httpx.Client = request.getfixturevalue("client")
        ids = [each.id for each in DASHBOARDS[0].panels if each.kind not in (STAT, TABLE)]
        statuses: list[int] = []
        began = time.monotonic()
        threads = [
            threading.Thread(
                target=lambda n=n: statuses.append(
                    client.get(f"/api/v1/dashboards/fleet/panels/{ids[n % len(ids)]}").status_code
                )
            )
            for n in range(40)
        ]
        for each in threads:
            each.start()
        time.sleep(0.5)
        asked = time.monotonic()
        assert client.get("/api/v1/queues").status_code == 200
        assert time.monotonic() - asked < 2, "there are threads left for what is not Prometheus"
        for each in threads:
            each.join()
        assert time.monotonic() - began < 15
        assert set(statuses) == {200, 503}, "some wait for it, the others are told to come again"


def test_deployments(
    viewer: httpx.Client, desk: Desk, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_fleet.console.dashboards._DEPLOYS_KEPT", 0.0)
    assert viewer.get("/api/v1/deploys").json() == {"deploys": []}
    assert 'id="overview-deploys" data-part hidden' in viewer.get("/ui").text
    for number in range(60):
        desk.fleet.deploys.note(f"app-{number}", "ann", ["w2", "w1"], rollback=number == 59)
    found = viewer.get("/api/v1/deploys", params={"limit": 2}).json()["deploys"]
    assert [(each["release"], each["by"], each["hosts"], each["rollback"]) for each in found] == [
        ("app-59", "ann", ["w1", "w2"], True),
        ("app-58", "ann", ["w1", "w2"], False),
    ]
    with redis_server.client(2) as state:
        assert state.llen("fleet:deploys") == 50
    for page in ("/ui", "/ui/metrics/fleet"):
        assert "app-59" in viewer.get(page).text


class TestPrometheusByTls:
    @pytest.fixture
    def secured(self, settings: dict[str, str], tmp_path: Path) -> Iterator[PrometheusServer]:
        made = PrometheusServer(tmp_path / "secured", locked=True, tls=True)
        (tmp_path / "monitoring.password").write_text(f"{PASSWORD}\n")
        settings["CONSOLE_PROMETHEUS_URL"] = made.url
        settings["CONSOLE_MONITORING_USER"] = USER
        settings["CONSOLE_MONITORING_PASSWORD_FILE"] = str(tmp_path / "monitoring.password")
        settings["CONSOLE_MONITORING_CA_FILE"] = str(tmp_path / "trusted.pem")
        yield made.start()
        made.stop()

    def test_is_asked_when_it_is_trusted_and_a_new_authority_is_heard_of(
        self, secured: PrometheusServer, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        """The file of who is trusted becomes another one while the console runs, as in a rotation."""
        trusted = tmp_path / "trusted.pem"
        client = request.getfixturevalue("client")
        for wrong in ("there is none", "it is of somebody else"):
            if "else" in wrong:
                certify(trusted)
                time.sleep(REST)
            stranger = panel(client, "fleet/panels/waiting")
            assert not stranger["available"], wrong
            assert "CERTIFICATE_VERIFY_FAILED" in stranger["reason"], wrong
        trusted.write_bytes(secured.authority.read_bytes())
        time.sleep(REST)
        assert panel(client, "fleet/panels/waiting")["available"]
