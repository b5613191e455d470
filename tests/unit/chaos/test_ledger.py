"""The account of `make chaos`: it must find what is lost, and explain only what a fault explains."""

import pytest

from chaos.ledger import (
    EVERYWHERE,
    Fault,
    Task,
    Times,
    add_runs,
    attempts_between,
    lost,
    read_published,
    redeliveries,
    repeats,
    slow_cases,
    slow_medians,
)

PUBLISHED = "try t prefork 1.0\nyes t prefork 1.1\n"
KILLED = Fault("main killed", "prefork", "prefork@a", 5.0)
OUTAGE = Fault("network cut", "all", "*@a", 5.0, healed=20.0, ends_work=False)


def account(*marks: str, published: str = PUBLISHED) -> dict[str, Task]:
    """The account of one task t with these marks: begin or end, moment, node, [pid, retries, redelivered, losses]."""
    tasks = read_published([published])
    lines = []
    for mark in marks:
        word, moment, node, *rest = mark.split()
        lines.append(
            f"{word} t {moment} {node} {' '.join(rest or ['7', '0', '0', '0']) if word == 'begin' else ''}"
        )
    add_runs(tasks, "\n".join(lines))
    return tasks


def cause(faults: list[Fault], *marks: str, published: str = PUBLISHED) -> str | None:
    (repeat,) = repeats(account(*marks, published=published), faults)
    return repeat.cause


def test_a_confirmed_task_that_never_ran_is_lost() -> None:
    assert [task.id for task in lost(account())] == ["t"]


def test_a_run_without_end_is_none() -> None:
    assert lost(account("begin 4 prefork@a"))


def test_one_end_is_enough() -> None:
    assert not lost(account("begin 4 prefork@a", "begin 6 prefork@a", "end 7 prefork@a"))


def test_what_was_never_confirmed_cannot_be_lost() -> None:
    assert not lost(account(published="try t prefork 1.0\n"))


def test_a_retry_by_policy_is_no_repeat() -> None:
    marks = ("begin 4 prefork@a", "failed 4.1 prefork@a", "begin 6 prefork@a 7 1 0 0", "end 7 prefork@a")
    assert not repeats(account(*marks), [])


def test_a_kill_explains_the_run_that_it_interrupted() -> None:
    marks = ("begin 4 prefork@a", "begin 6 prefork@b 7 0 1 1", "end 7 prefork@b")
    assert cause([KILLED], *marks) == "main killed"
    assert [seconds for _, _, seconds in redeliveries(account(*marks), [KILLED])] == [1.0]


@pytest.mark.parametrize(
    ("outage", "counted"),
    [
        pytest.param(
            Fault("Redis frozen", "all", EVERYWHERE, 5.5, healed=5.8, ends_work=False), 0, id="between"
        ),
        pytest.param(
            Fault("Redis frozen", "all", EVERYWHERE, 4.9, healed=5.1, ends_work=False), 0, id="at its begin"
        ),
        pytest.param(
            Fault("network cut", "all", "*@a", 5.5, healed=8.0, ends_work=False), 0, id="of its host"
        ),
        pytest.param(
            Fault("network cut", "all", "*@b", 5.5, healed=8.0, ends_work=False), 1, id="of another host"
        ),
        pytest.param(
            Fault("Redis frozen", "all", EVERYWHERE, 1.0, healed=4.0, ends_work=False), 1, id="before"
        ),
        pytest.param(
            Fault("Redis frozen", "all", EVERYWHERE, 6.5, healed=9.0, ends_work=False), 1, id="after"
        ),
    ],
)
def test_what_an_outage_holds_up_says_nothing_of_redelivery(outage: Fault, counted: int) -> None:
    marks = ("begin 4 prefork@a", "begin 6 prefork@a 8 0 1 1", "end 7 prefork@a")
    assert len(redeliveries(account(*marks), [KILLED, outage])) == counted


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("main killed", "prefork", "prefork@b", 5.0), id="another node"),
        pytest.param(Fault("main killed", "prefork", "prefork@a", 2.0), id="before the run"),
        pytest.param(Fault("main killed", "prefork", "prefork@a", 9.0), id="after the second run"),
        pytest.param(Fault("child killed", "prefork", "prefork@a", 5.0, pid=8), id="another process"),
        pytest.param(
            Fault("stopped, finish", "prefork", "prefork@a", 5.0, ends_work=False),
            id="a stop that lets it end",
        ),
    ],
)
def test_other_faults_do_not_explain_it(fault: Fault) -> None:
    assert cause([fault], "begin 4 prefork@a", "begin 6 prefork@b 7 0 1 1", "end 7 prefork@b") is None


def test_a_kill_just_after_the_end_explains_a_second_end() -> None:
    ends = ("begin 3 prefork@a", "end 4.5 prefork@a", "begin 6 prefork@a 7 0 1 1", "end 6.5 prefork@a")
    assert cause([KILLED], *ends) == "main killed"


def test_a_kill_long_after_the_end_does_not() -> None:
    ends = ("begin 0.5 prefork@a", "end 1 prefork@a", "begin 6 prefork@a 7 0 1 1", "end 6.5 prefork@a")
    assert cause([KILLED], *ends) is None


def test_an_outage_explains_a_run_elsewhere_of_what_it_touched() -> None:
    ends = ("begin 4 prefork@a", "end 8 prefork@a", "begin 16 prefork@b", "end 17 prefork@b")
    assert cause([OUTAGE], *ends) == "network cut"


def test_an_outage_of_another_host_does_not() -> None:
    ends = ("begin 4 prefork@b", "end 8 prefork@b", "begin 16 prefork@c", "end 17 prefork@c")
    assert cause([OUTAGE], *ends) is None


def test_an_outage_of_redis_hits_every_node() -> None:
    assert Fault("Redis frozen", "all", EVERYWHERE, 5.0, healed=20.0).hits("solo@b")


def test_two_attempts_to_publish_explain_two_runs() -> None:
    published = "try t prefork 1.0\ntry t prefork 1.5\nyes t prefork 1.6\n"
    ends = ("begin 2 prefork@a", "end 2.1 prefork@a", "begin 3 prefork@b", "end 3.1 prefork@b")
    assert "published again" in str(cause([], *ends, published=published))


def test_without_any_fault_nothing_is_explained() -> None:
    assert cause([], "begin 2 solo@a", "end 2.1 solo@a", "begin 3 solo@b", "end 3.1 solo@b") is None


def test_a_median_beyond_its_bound_is_told_by_kind_and_for_all() -> None:
    times = {("main killed", "solo"): Times([1, 6, 7]), ("group killed", "solo"): Times([9, 9])}
    assert slow_medians(times, ("main killed", "group killed"), 5) == [
        ("main killed", "all", 6),
        ("main killed", "solo", 6),
    ]
    assert slow_medians(times, ("group killed",), 5) == []


def test_cases_of_few_kinds_count_together() -> None:
    times = {("main killed", kind): Times([6]) for kind in ("solo", "gevent", "threads")}
    assert slow_medians(times, ("main killed",), 5) == [("main killed", "all", 6)]


def test_one_long_case_is_told() -> None:
    times = {("Redis restarted", "solo"): Times([1, 21]), ("Redis restarted", "gevent"): Times([1, 19])}
    assert slow_cases(times, ("Redis restarted",), 20) == [("Redis restarted", "solo", 21)]
    assert slow_cases(times, ("Redis frozen",), 20) == []


def test_attempts_are_counted_while_redis_was_away() -> None:
    published = "try t prefork 1.0\ntry t prefork 1.5\ntry t prefork 3\nyes t prefork 3.1\n"
    assert attempts_between(account(published=published), 1.2, 3) == 2
