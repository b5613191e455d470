"""The dashboard `workers`: who works, how much of what it can, and what does it take?"""

from .model import (
    BAD,
    BUSY,
    BYTES,
    COUNT,
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
from .parts import MISSING

_OF = 'pool=~"$pool", worker=~"$worker"'
_TASKS = 'worker=~"$worker"'
_CPU = "namedprocess_namegroup_cpu_seconds_total"
_GROUP = 'groupname=~"celery-worker@$pool"'


def _each(metric: str) -> str:
    return f"max by (worker) ({metric}{{{_OF}}})"


WORKERS = Dashboard(
    "workers",
    "Workers",
    "Each worker: its signs of life, load, memory and what it holds. Beat is here, too.",
    (
        Section(
            "Now",
            (
                Panel(
                    "table",
                    "Workers",
                    "What each says of itself. A worker that the inventory names and that is silent is down.",
                    COUNT,
                    (
                        Query(_each("celery_worker_up"), "Alive", words=((0, "no"), (1, "yes"))),
                        Query(_each("celery_worker_draining"), "Draining", words=((0, "no"), (1, "yes"))),
                        Query(_each("celery_worker_tasks_active"), "Running"),
                        Query(_each("celery_worker_concurrency"), "At once"),
                        Query(_each("celery_worker_oldest_task_age_seconds"), "Longest run", unit=SECONDS),
                        Query(_each("celery_worker_memory_bytes"), "Memory", unit=BYTES),
                        Query(
                            f"time() - {_each('celery_worker_last_heartbeat_timestamp_seconds')}",
                            "Last seen",
                            unit=SECONDS,
                        ),
                    ),
                    TABLE,
                    width=24,
                    labels=(("worker", "Worker"),),
                ),
                Panel(
                    "missing",
                    "Missing workers",
                    "Of the inventory's workers, those that give no sign of life and were not drained.",
                    COUNT,
                    (Query(MISSING, "{{worker}}", BAD),),
                    empty_when_healthy="a worker that is killed, or a host that is away",
                    width=24,
                ),
            ),
        ),
        Section(
            "Load",
            (
                Panel(
                    "saturation",
                    "Busy slots",
                    "Running tasks of all that a worker can run at once.",
                    SHARE,
                    (
                        Query(
                            f"{_each('celery_worker_tasks_active')} / {_each('celery_worker_concurrency')}",
                            "{{worker}}",
                        ),
                    ),
                    thresholds=(Threshold(1, WARN),),
                    top=1.0,
                ),
                Panel(
                    "done",
                    "Tasks done",
                    "Tasks a second that succeeded.",
                    RATE,
                    (
                        Query(
                            f'sum by (worker) (rate(celery_task_succeeded_total{{{_TASKS}, worker!=""}}[$__rate_interval]))',
                            "{{worker}}",
                        ),
                    ),
                ),
                Panel(
                    "longest",
                    "Longest run",
                    "How long the oldest running task has run.",
                    SECONDS,
                    (Query(_each("celery_worker_oldest_task_age_seconds"), "{{worker}}"),),
                    spread=True,
                ),
                Panel(
                    "limit",
                    "Time limit used",
                    "Age of a running task as a part of its hard limit. At 100 % it is ended; beyond, it hangs.",
                    SHARE,
                    (Query(_each("celery_worker_task_limit_used_ratio"), "{{worker}}"),),
                    thresholds=(Threshold(0.8, WARN), Threshold(1, BAD)),
                    top=1.0,
                ),
                Panel(
                    "heartbeats",
                    "Silent for",
                    "Seconds since the last sign of life; a worker says something every two.",
                    SECONDS,
                    (
                        Query(
                            f"time() - {_each('celery_worker_last_heartbeat_timestamp_seconds')}",
                            "{{worker}}",
                        ),
                    ),
                    spread=True,
                ),
                Panel(
                    "failures",
                    "Failures by worker",
                    "Failed tasks a second.",
                    RATE,
                    (
                        Query(
                            f"sum by (worker) (rate(celery_task_failed_total{{{_TASKS}}}[$__rate_interval])) > 0",
                            "{{worker}}",
                        ),
                    ),
                    empty_when_healthy="a task that fails for good",
                ),
            ),
        ),
        Section(
            "Memory and processes",
            (
                Panel(
                    "memory",
                    "Memory",
                    "Of the main process and its children; what they share is counted once.",
                    BYTES,
                    (Query(_each("celery_worker_memory_bytes"), "{{worker}}"),),
                ),
                Panel(
                    "child",
                    "Largest child",
                    "Resident memory of the largest process that runs tasks.",
                    BYTES,
                    (Query(_each("celery_worker_largest_child_bytes"), "{{worker}}"),),
                ),
                Panel(
                    "cpu",
                    "CPUs used by pool",
                    "How many CPUs the processes of a pool keep busy on a host.",
                    COUNT,
                    (
                        Query(
                            f"sum by (instance, groupname) (rate({_CPU}{{{_GROUP}}}[$__rate_interval]))",
                            "{{groupname}} on {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "processes",
                    "Processes by pool",
                    "A number that swings: children die, or are replaced often.",
                    COUNT,
                    (
                        Query(
                            f"sum by (instance, groupname) (namedprocess_namegroup_num_procs{{{_GROUP}}})",
                            "{{groupname}} on {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "restarts",
                    "Restarts by systemd",
                    "In the last hour; after a crash, a hang or too much memory.",
                    COUNT,
                    (
                        Query(
                            "sum by (instance, name) (increase(node_systemd_service_restart_total"
                            '{job="node", name=~"celery-.+"}[1h])) > 0',
                            "{{name}} on {{instance}}",
                        ),
                    ),
                    empty_when_healthy="a worker that is killed and started again by systemd",
                    width=24,
                ),
            ),
        ),
        Section(
            "What workers hold",
            (
                Panel(
                    "unacked",
                    "Messages in hand",
                    "Messages that a worker took and has not ended.",
                    COUNT,
                    (Query(f"celery_unacked_messages{{{_TASKS}}}", "{{worker}}"),),
                    empty_when_healthy="any task that runs, or waits in a worker",
                ),
                Panel(
                    "unacked-age",
                    "Oldest message in hand",
                    "For how long a worker has held it. Stock delivery gives it to another one after a while.",
                    SECONDS,
                    (
                        Query(f"celery_unacked_oldest_age_seconds{{{_TASKS}}}", "{{worker}}"),
                        Query(
                            "max(celery_visibility_timeout_seconds)",
                            "Visibility timeout",
                            level=True,
                            only="`celery_delivery: stock`",
                        ),
                    ),
                    spread=True,
                    empty_when_healthy="any task that runs, or waits in a worker",
                ),
            ),
        ),
        Section(
            "Beat",
            (
                Panel(
                    "beat-late",
                    "Late entries",
                    "By how much an entry of the schedule is overdue.",
                    SECONDS,
                    (Query("celery_beat_schedule_entry_late_seconds > 0", "{{entry}}", WARN),),
                    spread=True,
                    empty_when_healthy="Beat that is stopped",
                ),
                Panel(
                    "beat-silent",
                    "Beat: silent for, and last run of its entries",
                    "Seconds since Beat said something, and since it last sent each entry.",
                    SECONDS,
                    (
                        Query("time() - max(celery_beat_last_heartbeat_timestamp_seconds)", "Beat", BUSY),
                        Query(
                            "time() - max by (entry) (celery_beat_schedule_entry_last_run_timestamp_seconds)",
                            "{{entry}}",
                        ),
                    ),
                    spread=True,
                ),
            ),
        ),
        Section(
            "Releases",
            (
                Panel(
                    "releases",
                    "Workers by release",
                    "More than one for long: a deployment that was not finished.",
                    COUNT,
                    (Query(f"count by (release) (celery_worker_info{{{_OF}}})", "{{release}}"),),
                    width=12,
                ),
                Panel(
                    "deploys",
                    "Deployments",
                    "The last ones, and how long ago.",
                    SECONDS,
                    (Query("time() - max by (release) (celery_deploy_timestamp_seconds)", "Ago"),),
                    TABLE,
                    empty_when_healthy="a deployment",
                    labels=(("release", "Release"),),
                ),
            ),
        ),
    ),
    (
        Variable("pool", "Pool", "celery_worker_up", "pool"),
        Variable("worker", "Worker", "celery_worker_up", "worker"),
    ),
)
