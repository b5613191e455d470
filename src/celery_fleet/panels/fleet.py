"""The dashboard `fleet`: is all well, and if not, where?"""

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
)
from .parts import MISSING, ended, failed_share, quantile, stat

_ENDS = (
    ("succeeded", "Succeeded", GOOD),
    ("failed", "Failed", BAD),
    ("retried", "Tried again", WARN),
    ("revoked", "Cancelled", APART),
)

_FIRING = 'ALERTS{alertstate="firing", severity=~"page|ticket"}'

FLEET = Dashboard(
    "fleet",
    "Fleet",
    "The whole fleet at a glance: what waits, runs, fails and is late.",
    (
        Section(
            "Now",
            (
                stat("waiting", "Waiting", "Messages in all queues.", COUNT, "sum(celery_queue_length)"),
                stat("running", "Running", "Tasks that run.", COUNT, "sum(celery_worker_tasks_active)"),
                stat(
                    "oldest",
                    "Longest wait",
                    "Age of the oldest message of any queue.",
                    SECONDS,
                    "max(celery_queue_oldest_message_age_seconds)",
                ),
                stat(
                    "failed-share",
                    "Failed",
                    "Failed of all tasks that ended in the time shown.",
                    SHARE,
                    failed_share(window="$__range"),
                    Threshold(0.05, WARN),
                    Threshold(0.2, BAD),
                ),
                stat(
                    "missing",
                    "Workers missing",
                    "Of the inventory's workers, those that give no sign of life and were not drained.",
                    COUNT,
                    f"count({MISSING}) or vector(0)",
                    Threshold(1, BAD),
                ),
                stat(
                    "alerts-firing",
                    "Alerts",
                    "Alerts that fire and ask for somebody.",
                    COUNT,
                    f"count({_FIRING}) or vector(0)",
                    Threshold(1, BAD),
                ),
            ),
        ),
        Section(
            "Work",
            (
                Panel(
                    "throughput",
                    "Throughput",
                    "Tasks a second, by what became of them.",
                    RATE,
                    (
                        Query("sum(rate(celery_task_received_total[$__rate_interval]))", "Received", BUSY),
                        *(Query(ended(how), word, tone) for how, word, tone in _ENDS),
                    ),
                ),
                Panel(
                    "latency",
                    "Latency",
                    "From due to start, and run time of tasks that succeeded: half of the tasks, and 95 of 100, were quicker.",
                    SECONDS,
                    (
                        Query(quantile(0.95, "celery_task_queue_wait_time"), "Wait, 95 of 100", APART),
                        Query(quantile(0.5, "celery_task_queue_wait_time"), "Wait, half"),
                        Query(quantile(0.95, "celery_task_runtime"), "Run, 95 of 100", BUSY),
                        Query(quantile(0.5, "celery_task_runtime"), "Run, half"),
                    ),
                    spread=True,
                ),
                Panel(
                    "backlog",
                    "Waiting by queue",
                    "Messages of all priorities that are due.",
                    COUNT,
                    (Query("celery_queue_length", "{{queue_name}}"),),
                    fill=True,
                ),
                Panel(
                    "age",
                    "Longest wait by queue",
                    "Age of each queue's oldest message. It rises when nobody takes any, whatever the reason. Dashed: targets.",
                    SECONDS,
                    (
                        Query("celery_queue_oldest_message_age_seconds", "{{queue_name}}"),
                        Query(
                            'max by (urgency) (celery_queue_slo_target_seconds{indicator="queueing"})',
                            "{{urgency}}",
                            level=True,
                        ),
                    ),
                    spread=True,
                ),
                Panel(
                    "saturation",
                    "Busy slots by pool",
                    "Running tasks of all that a pool can run at once. At 100 % more work waits.",
                    SHARE,
                    (
                        Query(
                            "sum by (pool) (celery_worker_tasks_active) / sum by (pool) (celery_worker_concurrency)",
                            "{{pool}}",
                        ),
                    ),
                    thresholds=(Threshold(1, WARN),),
                    top=1.0,
                ),
                Panel(
                    "workers",
                    "Workers",
                    "Those with a fresh sign of life, against those of the inventory.",
                    COUNT,
                    (
                        Query("sum(celery_worker_up)", "Alive", GOOD),
                        Query("sum(celery_worker_draining)", "Draining", WARN),
                        Query("count(celery_worker_expected)", "Expected", level=True),
                    ),
                ),
            ),
        ),
        Section(
            "Trouble",
            (
                Panel(
                    "alerts",
                    "Alerts that fire",
                    "What Prometheus has found; the console's page of alerts has their runbooks.",
                    COUNT,
                    (
                        Query(
                            f"max by (alertname, severity, queue_name, worker, instance) ({_FIRING})",
                            "Fires",
                            words=((1, "yes"),),
                        ),
                    ),
                    TABLE,
                    empty_when_healthy="any alert of severity page or ticket",
                    width=24,
                    labels=(
                        ("alertname", "Alert"),
                        ("severity", "Severity"),
                        ("queue_name", "Queue"),
                        ("worker", "Worker"),
                        ("instance", "Host"),
                    ),
                ),
                Panel(
                    "failures",
                    "Failures by exception",
                    "Failed tasks a second; the ten most frequent exceptions.",
                    RATE,
                    (
                        Query(
                            "topk(10, sum by (exception) (rate(celery_task_failed_total[$__rate_interval])) > 0)",
                            "{{exception}}",
                        ),
                    ),
                    empty_when_healthy="a task that fails for good",
                ),
                Panel(
                    "dead-letters",
                    "Dead letters",
                    "Tasks that failed for good and wait for a decision, by queue. Dashed: how many are kept.",
                    COUNT,
                    (
                        Query(
                            "sum by (queue_name) (celery_dead_letters) or 0 * max by (queue_name) (celery_queue_length)",
                            "{{queue_name}}",
                        ),
                        Query("max(celery_dead_letters_limit)", "Kept at most", level=True),
                    ),
                ),
                Panel(
                    "unacked",
                    "Oldest message in hand",
                    "Age of what workers hold and have not ended. Stock delivery gives it to others after a while.",
                    SECONDS,
                    (
                        Query("max(celery_unacked_oldest_age_seconds) or vector(0)", "Oldest", APART),
                        Query(
                            "max(celery_visibility_timeout_seconds)",
                            "Visibility timeout",
                            level=True,
                            only="`celery_delivery: stock`",
                        ),
                    ),
                    spread=True,
                ),
                Panel(
                    "beat",
                    "Beat",
                    "How late the latest entry of the schedule is, and how long Beat has been silent.",
                    SECONDS,
                    (
                        Query("max(celery_beat_schedule_entry_late_seconds)", "Latest entry", WARN),
                        Query(
                            "time() - max(celery_beat_last_heartbeat_timestamp_seconds)", "Silent for", BUSY
                        ),
                    ),
                    spread=True,
                ),
            ),
        ),
        Section(
            "What watching costs",
            (
                Panel(
                    "reads",
                    "The exporter's readings",
                    "How long it takes to read the fleet's state from Redis, for each scrape.",
                    SECONDS,
                    (Query("celery_exporter_read_duration_seconds", "One reading"),),
                    width=12,
                ),
                Panel(
                    "scrapes",
                    "Scrapes",
                    "How long Prometheus waits for each kind of exporter, at most.",
                    SECONDS,
                    (Query("max by (job) (scrape_duration_seconds)", "{{job}}"),),
                    spread=True,
                ),
            ),
        ),
    ),
)
