"""The dashboard `queues`: are tasks started and done in time?"""

from .model import (
    APART,
    BAD,
    BUSY,
    COUNT,
    GOOD,
    RATE,
    SECONDS,
    SHARE,
    TABLE,
    WARN,
    Dashboard,
    Panel,
    Query,
    Section,
    Threshold,
    Variable,
)
from .parts import burn, ended, failed_share, in_time, quantile, quantiles

_OF = 'queue_name=~"$queue"'
_WAIT, _RUN = "celery_task_queue_wait_time", "celery_task_runtime"


def _rate(end: str, by: str) -> str:
    return f"sum by ({by}) (rate(celery_task_{end}_total{{{_OF}}}[$__rate_interval]))"


_ENDED = f"({ended('succeeded', _OF, 'queue_name')} + {ended('failed', _OF, 'queue_name')})"
_SPENT = "What was bad, as a multiple of what the objective allows. 1: the budget just lasts; 14: it is gone in two days."

QUEUES = Dashboard(
    "queues",
    "Queues",
    "What waits in each queue, how long, and what became of it.",
    (
        Section(
            "Service levels",
            (
                Panel(
                    "levels",
                    "Targets and how they were met",
                    "In the time shown. Queueing: from due to start. Execution: run time of tasks that succeeded. "
                    "A queue without a target (urgency bulk) has no share.",
                    SHARE,
                    (
                        Query(
                            f'max by (queue_name) (celery_queue_slo_target_seconds{{indicator="queueing", {_OF}}})',
                            "To start within",
                            unit=SECONDS,
                        ),
                        Query(in_time(_WAIT, "queueing"), "Started in time"),
                        Query(
                            f'max by (queue_name) (celery_queue_slo_target_seconds{{indicator="execution", {_OF}}})',
                            "To run at most",
                            unit=SECONDS,
                        ),
                        Query(in_time(_RUN, "execution"), "Ran in time"),
                        Query(failed_share(_OF, "queue_name", "$__range"), "Failed"),
                        Query(f"max by (queue_name) (celery_queue_length{{{_OF}}})", "Waiting", unit=COUNT),
                        Query(
                            f"max by (queue_name) (celery_queue_oldest_message_age_seconds{{{_OF}}})",
                            "Longest wait",
                            unit=SECONDS,
                        ),
                    ),
                    TABLE,
                    width=24,
                    labels=(("queue_name", "Queue"),),
                ),
            ),
        ),
        Section(
            "Error budgets",
            tuple(
                Panel(
                    f"budget-{indicator}",
                    title,
                    _SPENT,
                    COUNT,
                    (
                        Query(burn(indicator, "1h", _OF), "{{queue_name}}, last hour"),
                        Query(burn(indicator, "3d", _OF), "{{queue_name}}, last 3 days"),
                    ),
                    thresholds=(Threshold(1, WARN), Threshold(14.4, BAD)),
                    empty_when_healthy="any task of a queue with a target",
                    width=8,
                )
                for indicator, title in (
                    ("queueing", "Late starts"),
                    ("execution", "Long runs"),
                    ("errors", "Failures"),
                )
            ),
        ),
        Section(
            "Waiting",
            (
                Panel(
                    "length",
                    "Waiting by queue",
                    "Messages of all priorities that are due.",
                    COUNT,
                    (Query(f"celery_queue_length{{{_OF}}}", "{{queue_name}}"),),
                    fill=True,
                ),
                Panel(
                    "priorities",
                    "Waiting by priority",
                    "Messages by priority, 10 the most urgent, of the queues chosen.",
                    COUNT,
                    (
                        Query(
                            f"sum by (priority) (celery_queue_priority_length{{{_OF}}})",
                            "Priority {{priority}}",
                        ),
                    ),
                    fill=True,
                ),
                Panel(
                    "age",
                    "Longest wait",
                    "Age of the oldest message. It rises when nobody takes any, while figures of started tasks stand still.",
                    SECONDS,
                    (
                        Query(f"celery_queue_oldest_message_age_seconds{{{_OF}}}", "{{queue_name}}"),
                        Query(
                            f'max by (urgency) (celery_queue_slo_target_seconds{{indicator="queueing", {_OF}}})',
                            "{{urgency}}",
                            level=True,
                        ),
                    ),
                    spread=True,
                ),
                Panel(
                    "drain-time",
                    "Time until it is empty",
                    "What waits, divided by how many tasks end a second. No line: nothing ends.",
                    SECONDS,
                    (
                        Query(
                            f"sum by (queue_name) (celery_queue_length{{{_OF}}}) / ({_ENDED} > 0) "
                            f"or 0 * (sum by (queue_name) (celery_queue_length{{{_OF}}}) == 0)",
                            "{{queue_name}}",
                        ),
                    ),
                    spread=True,
                ),
                Panel(
                    "later",
                    "Due later, and in hand",
                    "Messages that are due later (a countdown, a retry), and those that workers hold.",
                    COUNT,
                    (
                        Query(f"sum(celery_queue_parked{{{_OF}}})", "Due later", APART),
                        Query(f"sum(celery_queue_unacked{{{_OF}}})", "In hand", BUSY),
                    ),
                ),
                Panel(
                    "consumers",
                    "Consumers",
                    "Living workers that take from the queue. None: what is sent waits.",
                    COUNT,
                    (Query(f"celery_queue_consumers{{{_OF}}}", "{{queue_name}}"),),
                ),
                Panel(
                    "paused",
                    "Paused",
                    "Queues that an operator paused.",
                    COUNT,
                    (Query(f"celery_queue_paused{{{_OF}}} == 1", "{{queue_name}}", WARN),),
                    empty_when_healthy="`fleet pause QUEUE`",
                    width=24,
                ),
            ),
        ),
        Section(
            "Latency",
            (
                Panel(
                    "wait",
                    "From due to start",
                    "How long tasks waited; half, 95 and 99 of 100 started sooner. Dashed: the targets of the queues chosen.",
                    SECONDS,
                    (
                        *quantiles(_WAIT, "Wait", _OF),
                        Query(
                            f'max by (urgency) (celery_queue_slo_target_seconds{{indicator="queueing", {_OF}}})',
                            "{{urgency}}",
                            level=True,
                        ),
                    ),
                    spread=True,
                ),
                Panel(
                    "run",
                    "Run time",
                    "How long tasks ran that succeeded; half, 95 and 99 of 100 were quicker. Dashed: the targets.",
                    SECONDS,
                    (
                        *quantiles(_RUN, "Run", _OF),
                        Query(
                            f'max by (urgency) (celery_queue_slo_target_seconds{{indicator="execution", {_OF}}})',
                            "{{urgency}}",
                            level=True,
                        ),
                    ),
                    spread=True,
                ),
                Panel(
                    "wait-by-queue",
                    "From due to start, by queue",
                    "95 of 100 tasks of the queue started sooner.",
                    SECONDS,
                    (Query(quantile(0.95, _WAIT, _OF, "queue_name"), "{{queue_name}}"),),
                    spread=True,
                ),
                Panel(
                    "run-by-task",
                    "Run time by task",
                    "95 of 100 runs were quicker; the ten slowest tasks.",
                    SECONDS,
                    (Query(f"topk(10, {quantile(0.95, _RUN, _OF, 'name')})", "{{name}}"),),
                    spread=True,
                ),
            ),
        ),
        Section(
            "What became of it",
            (
                Panel(
                    "throughput",
                    "Throughput",
                    "Tasks a second, by what became of them.",
                    RATE,
                    (
                        Query(
                            f"sum(rate(celery_task_received_total{{{_OF}}}[$__rate_interval]))",
                            "Received",
                            BUSY,
                        ),
                        Query(ended("succeeded", _OF), "Succeeded", GOOD),
                        Query(ended("failed", _OF), "Failed", BAD),
                        Query(ended("retried", _OF), "Tried again", WARN),
                    ),
                ),
                Panel(
                    "done",
                    "Done by queue",
                    "Tasks a second that succeeded.",
                    RATE,
                    (Query(ended("succeeded", _OF, "queue_name"), "{{queue_name}}"),),
                ),
                Panel(
                    "failed-share",
                    "Failed of those that ended",
                    "By queue.",
                    SHARE,
                    (Query(failed_share(_OF, "queue_name"), "{{queue_name}}"),),
                    thresholds=(Threshold(0.05, WARN), Threshold(0.2, BAD)),
                    top=1.0,
                    empty_when_healthy="any task that ends",
                ),
                Panel(
                    "retries",
                    "Tried again, by task",
                    "Attempts a second that are followed by another; the ten most frequent tasks.",
                    RATE,
                    (Query(f"topk(10, {_rate('retried', 'name')} > 0)", "{{name}}"),),
                    empty_when_healthy="a task whose attempt fails and is tried again",
                ),
                Panel(
                    "failures",
                    "Failures by task and exception",
                    "Failed tasks a second; the ten most frequent.",
                    RATE,
                    (
                        Query(
                            f"topk(10, {_rate('failed', 'name, exception')} > 0)", "{{name}}: {{exception}}"
                        ),
                    ),
                    empty_when_healthy="a task that fails for good",
                ),
                Panel(
                    "dead-letters",
                    "Dead letters by reason",
                    "Tasks that failed for good and wait for a decision.",
                    COUNT,
                    (
                        Query(
                            f"sum by (queue_name, reason) (celery_dead_letters{{{_OF}}}) > 0",
                            "{{queue_name}}: {{reason}}",
                        ),
                    ),
                    empty_when_healthy="a task that fails for good",
                ),
            ),
        ),
    ),
    (Variable("queue", "Queue", "celery_queue_length", "queue_name"),),
)
