"""What each alert does with which samples: a table. Times are minutes, and so is the distance of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LABELS = (
    "severity", "instance", "queue_name", "worker", "name", "mountpoint", "path", "service", "job", "integration",
    "entry", "pool",
)  # fmt: skip
"""By which the alerts of one name are told apart."""

DEPEND = ("TargetDown", "ProbeFailed")
"""By `depends` as well: what they are about says whether Redis silences them."""

ALWAYS = ("Watchdog",)
"""Is there for ever: it has no quiet case, and no end."""


@dataclass(frozen=True)
class Case:
    """`series`: as promtool writes them; `told`: minute -> labels of who fires then. Without an alert: any but Watchdog."""

    alert: str
    what: str
    series: Mapping[str, str]
    told: Mapping[int, Sequence[str]]

    @property
    def fires(self) -> bool:
        return any(self.told.values())

    @property
    def ends(self) -> bool:
        return self.fires and not self.told[max(self.told)]


CASES: list[Case] = []


def case(alert: str, what: str, series: Mapping[str, str], told: Mapping[int, Sequence[str]]) -> None:
    CASES.append(Case(alert, what, series, told))


def at(severity: str, **labels: str) -> str:
    """Labels as promtool writes them."""
    return (
        "{" + ", ".join(f'{key}="{value}"' for key, value in {"severity": severity, **labels}.items()) + "}"
    )


def both(**labels: str) -> list[str]:
    """Who is asked for at once is so by a page and a ticket; Alertmanager tells the page alone."""
    return [at("page", **labels), at("ticket", **labels)]


REDIS = {"celery_exporter_redis_up": "1x500"}
PAIR = 'worker="default@worker1",pool="default",hostname="worker1"'
DEFAULT = {"worker": "default@worker1", "instance": "worker1"}
EMAIL = {"queue_name": "email"}


# --- hosts
def ping(values: str, node: str) -> dict[str, str]:
    return {'probe_success{job="ping",instance="worker1"}': values, 'up{job="node",instance="worker1"}': node}


case(
    "HostDown",
    "away and back",
    ping("1x2 0x5 1x3", "1x2 0x5 1x3"),
    {2: [], 5: [at("page", instance="worker1")], 10: []},
)
case("HostDown", "no answer to a ping alone", ping("0x10", "1x10"), {8: []})
case(
    "TargetDown",
    "away and back",
    {'up{job="redis",instance="redis1"}': "1x1 0x6 1x3"},
    {1: [], 6: [at("ticket", instance="redis1", job="redis")], 10: []},
)
case(
    "TargetDown",
    "the console has nothing to tell without Redis",
    {'up{job="console",instance="monitor1"}': "0x6"},
    {6: [at("ticket", instance="monitor1", job="console", depends="redis")]},
)
case("TargetDown", "a target of the app's own", {'up{job="app",instance="x"}': "0x10"}, {8: []})


def unit(metric: str, values: str, **labels: str) -> dict[str, str]:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return {f'{metric}{{job="node",instance="worker1",name="celery-worker@default.service"{more}}}': values}


SENDER = 'node_systemd_service_restart_total{job="node",instance="%s",name="systemd-journal-upload.service"}'
case(
    "JournalNotForwarded",
    "an outage of the log host",
    {SENDER % "worker1": "0+10x25 250x20", SENDER % "worker2": "0+10x25 250x20"},
    {5: [], 20: [at("ticket")], 40: []},
)
case("JournalNotForwarded", "started again with the log host", {SENDER % "worker1": "0 0 3x30"}, {15: []})
case("JournalNotForwarded", "a short outage", {SENDER % "worker1": "0 10 20 30 30x30"}, {10: [], 15: []})
case("UnitRestarting", "what tries again by it", {SENDER % "worker1": "0+10x30"}, {15: []})


UNIT = {"instance": "worker1", "name": "celery-worker@default.service"}
case(
    "UnitFailed",
    "failed and started",
    unit("node_systemd_unit_state", "0x1 1x5 0x3", state="failed"),
    {1: [], 5: [at("ticket", **UNIT)], 9: []},
)
case("UnitFailed", "starts", unit("node_systemd_unit_state", "1x10", state="activating"), {8: []})
case(
    "UnitRestarting",
    "once",
    unit("node_systemd_service_restart_total", "0x2 1x30"),
    {2: [], 10: [at("ticket", **UNIT)], 25: []},
)
case(
    "UnitRestarting",
    "again and again",
    unit("node_systemd_service_restart_total", "0x2 4x30"),
    {10: both(**UNIT), 25: []},
)
case("UnitRestarting", "long ago", unit("node_systemd_service_restart_total", "3x30"), {10: []})


def disk(
    available: str, total: str = "100x600", read_only: str = "0x600", what: str = "bytes"
) -> dict[str, str]:
    of = '{job="node",instance="redis1",mountpoint="/",fstype="ext4",device="/dev/sda"}'
    free, size = ("avail_bytes", "size_bytes") if what == "bytes" else ("files_free", "files")
    return {
        f"node_filesystem_{free}{of}": available,
        f"node_filesystem_{size}{of}": total,
        f"node_filesystem_readonly{of}": read_only,
    }


ROOT = {"instance": "redis1", "mountpoint": "/"}
case(
    "DiskFull",
    "fuller and fuller, then emptied",
    disk("50x2 8x5 4x5 50x5"),
    {2: [], 6: [at("ticket", **ROOT)], 12: both(**ROOT), 17: []},
)
case("DiskFull", "no inodes left", disk("50x2 4x5 50x5", what="files"), {2: [], 6: both(**ROOT), 11: []})
case("DiskFull", "room enough", disk("11x10"), {8: []})
case("DiskFull", "read only", disk("0x10", read_only="1x10"), {8: []})
case(
    "DiskFillingUp",
    "within a day, then no more",
    disk("390-1x120 270x400", "1000x600"),
    {30: [], 90: [at("ticket", **ROOT)], 510: []},
)
case("DiskFillingUp", "plenty left", disk("900-1x120", "1000x120"), {100: []})


def memory(values: str) -> dict[str, str]:
    return {
        'node_memory_MemAvailable_bytes{job="node",instance="worker1"}': values,
        'node_memory_MemTotal_bytes{job="node",instance="worker1"}': "100x40",
    }


case(
    "HostMemoryHigh",
    "full and freed",
    memory("50x1 4x14 50x3"),
    {8: [], 14: [at("ticket", instance="worker1")], 18: []},
)
case("HostMemoryHigh", "nearly", memory("6x20"), {18: []})

CERT = {"instance": "redis1", "path": "/c.pem"}
EXPIRY = 'fleet_certificate_expiry_timestamp_seconds{job="node",instance="redis1",path="/c.pem"}'
SITE = 'probe_ssl_earliest_cert_expiry{job="http",instance="monitor1",service="console"}'
case("CertExpiring", "soon, and renewed", {EXPIRY: "1000000x5 9000000x5"}, {3: [at("ticket", **CERT)], 8: []})
case(
    "CertExpiring",
    "very soon, and renewed",
    {SITE: "200000x5 9000000x5"},
    {3: both(instance="monitor1", service="console"), 8: []},
)
case("CertExpiring", "in 22 days", {EXPIRY: "1900000x10", SITE: "1900000x10"}, {8: []})
ERROR = 'fleet_certificate_error{job="node",instance="redis1",path="/c.pem"}'
case(
    "CertUnreadable",
    "unreadable and mended",
    {ERROR: "0x1 1x40 0x5"},
    {20: [], 35: [at("ticket", **CERT)], 45: []},
)
case("CertUnreadable", "while it is written", {ERROR: "0x1 1x20 0x20"}, {20: [], 35: []})
PROBE = 'probe_success{job="http",instance="monitor1",service="console"}'
case(
    "ProbeFailed",
    "away and back",
    {PROBE: "1x1 0x6 1x3"},
    {1: [], 6: [at("page", instance="monitor1", service="console", depends="redis")], 10: []},
)
case(
    "ProbeFailed",
    "Flower needs no Redis to answer",
    {PROBE.replace("console", "flower"): "0x6"},
    {6: [at("page", instance="monitor1", service="flower")]},
)
case("ProbeFailed", "restarts", {PROBE: "1 0 0 1 1 0 0 1 1 1"}, {3: [], 7: [], 8: []})


# --- Redis
def redis(metric: str, values: str) -> dict[str, str]:
    return {f'redis_{metric}{{job="redis",instance="redis1"}}': values}


PAGE = [at("page", instance="redis1")]
case(
    "RedisDown",
    "away and back",
    redis("up", "1x1 0x5 1x3") | {"celery_exporter_redis_up": "1x1 0x5 1x3"},
    {1: [], 5: PAGE, 9: []},
)
case("RedisDown", "its exporter alone", redis("up", "0x10") | REDIS, {8: []})
case(
    "RedisMemoryHigh",
    "fuller and fuller, then emptied",
    redis("memory_used_bytes", "50x1 85x4 95x4 50x3") | redis("memory_max_bytes", "100x20"),
    {1: [], 5: [at("ticket", instance="redis1")], 9: both(instance="redis1"), 14: []},
)
case(
    "RedisMemoryHigh",
    "room enough",
    redis("memory_used_bytes", "79x10") | redis("memory_max_bytes", "100x10"),
    {8: []},
)
case(
    "RedisMemoryHigh",
    "no limit",
    redis("memory_used_bytes", "99x10") | redis("memory_max_bytes", "0x10"),
    {8: []},
)
for alert, metric in (
    ("RedisEvicting", "evicted_keys_total"),
    ("RedisRejectingClients", "rejected_connections_total"),
):
    case(alert, "some, then none", redis(metric, "0x2 5x20"), {2: [], 4: PAGE, 15: []})
    case(alert, "long ago", redis(metric, "7x20"), {10: []})
for status in ("aof_last_write_status", "rdb_last_bgsave_status", "aof_last_bgrewrite_status"):
    case("RedisPersistenceFailing", status, redis(status, "1x1 0x6 1x3"), {1: [], 6: PAGE, 10: []})
case(
    "RedisPersistenceFailing",
    "once, mended by the next",
    redis("rdb_last_bgsave_status", "1 0 0 1 1"),
    {2: [], 4: []},
)
case(
    "RedisExporterBlind",
    "refused and let in",
    redis("exporter_last_scrape_error", "0x1 1x9 0x3") | REDIS,
    {4: [], 9: [at("ticket", instance="redis1")], 13: []},
)
case(
    "RedisExporterBlind",
    "Redis is down",
    redis("up", "0x20") | {"celery_exporter_redis_up": "0x20"},
    {15: []},
)


# --- queues
def queue(metric: str, values: str, name: str = "email") -> dict[str, str]:
    return {f'celery_queue_{metric}{{queue_name="{name}"}}': values}


def task(metric: str, values: str, name: str = "email", **labels: str) -> dict[str, str]:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return {f'celery_task_{metric}{{name="t",queue_name="{name}"{more}}}': values}


def histogram(metric: str, count: str, good: str) -> dict[str, str]:
    return task(f"{metric}_count", count) | task(f"{metric}_bucket", good, le="10.0")


def worker(metric: str, values: str) -> dict[str, str]:
    return {f"celery_worker_{metric}{{{PAIR}}}": values}


# Half an hour of it is worth a page; then it is over, and what is left of it in the long windows a ticket.
BURNT = {0: [], 14: both(**EMAIL), 76: [at("ticket", **EMAIL)], 420: []}
for alert, metric in (("QueueLatencyBurn", "queue_wait_time"), ("TaskExecutionBurn", "runtime")):
    case(
        alert,
        "one in ten is late for half an hour",
        histogram(metric, "0+40x440", "0+36x30 1120+40x410"),
        BURNT,
    )
    case(alert, "9 of 9 are late, which is little", histogram(metric, "0x20 9x40", "0x60"), {26: [], 50: []})
    case(alert, "all in time", histogram(metric, "0+100x60", "0+100x60"), {50: []})
    # The sums that Prometheus kept until the target became what it is
    before = f"queue:celery_{'queueing' if metric == 'queue_wait_time' else 'execution'}_bad:sum"
    case(
        alert,
        "all too late for the target that it had",
        {f'{before}{{queue_name="email",target="3"}}': "0+100x20"}
        | histogram(metric, "0+100x60", "0+100x60"),
        {15: [], 22: [], 50: []},
    )
AGE = "oldest_message_age_seconds"
case(
    "QueueLatencyHigh",
    "waits and is taken",
    queue(AGE, "0x1 40x6 0x3"),
    {1: [], 6: [at("page", **EMAIL)], 10: []},
)
case("QueueLatencyHigh", "nearly", queue(AGE, "29x10"), {8: []})
case("QueueLatencyHigh", "without a target", queue(AGE, "9999x10", "reports"), {8: []})
case("QueueLatencyHigh", "paused", queue(AGE, "40x10") | queue("paused", "1x10"), {8: []})


def stuck(begun: str, busy: str) -> dict[str, str]:
    return {
        **queue(AGE, "0x1 400x10 0x3"),
        **queue("length", "5x20"),
        **task("started_total", begun, worker="default@worker1"),
        **worker("up", "1x20"),
        **worker("concurrency", "4x20"),
        **worker("tasks_active", busy),
        **worker("draining", "0x20"),
    }


case(
    "QueueStuck",
    "nothing begins, then it does",
    stuck("7x20", "0x20"),
    {1: [], 7: [at("page", **EMAIL)], 13: []},
)
case("QueueStuck", "slow, but it goes on", stuck("0+1x20", "0x20"), {7: []})
case("QueueStuck", "all slots are busy", stuck("7x20", "4x20"), {7: []})


def consumers(values: str, waiting: str, paused: str = "0x20", name: str = "email") -> dict[str, str]:
    return {
        **queue("consumers", values, name),
        **queue("length", waiting, name),
        **queue("paused", paused, name),
        **REDIS,
    }


case(
    "QueueNoConsumers",
    "some wait, then one comes",
    consumers("1x1 0x6 1x3", "5x20"),
    {1: [], 6: [at("page", **EMAIL)], 10: []},
)
case(
    "QueueNoConsumers",
    "none wait",
    consumers("1x1 0x6 1x3", "0x20"),
    {1: [], 6: [at("ticket", **EMAIL)], 10: []},
)
case(
    "QueueNoConsumers",
    "bulk",
    consumers("0x6 1x3", "5x20", name="reports"),
    {5: [at("ticket", queue_name="reports")], 9: []},
)
case("QueueNoConsumers", "paused", consumers("0x20", "5x20", paused="1x20"), {10: []})
case(
    "QueuePaused",
    "forgotten, then resumed",
    queue("paused", "0x1 1x70 0x8"),
    {50: [], 65: [at("ticket", **EMAIL)], 75: []},
)
case("QueuePaused", "for a while", queue("paused", "0x1 1x40 0x60"), {30: [], 90: []})
case("QueueNoConsumers", "a restart", consumers("1 0 0 1 1", "5x20"), {2: [], 4: []})


def backlog(length: str, begun: str) -> dict[str, str]:
    return queue("length", length, "celery") | task(
        "started_total", begun, "celery", worker="default@worker1"
    )


case(
    "BacklogGrowing",
    "grows and is done",
    backlog("0+100x40 0x20", "0+1x60"),
    {2: [], 30: [at("ticket", queue_name="celery")], 45: []},
)
case("BacklogGrowing", "long, but soon done", backlog("1000+1x60", "0+6000x60"), {50: []})
case("BacklogGrowing", "slow, but little", backlog("0x20 1+1x30", "0+1x60"), {50: []})


# --- tasks
def ended(failed: str, succeeded: str) -> dict[str, str]:
    counted = task("failed_total", failed, exception="ValueError") | task("succeeded_total", succeeded)
    return counted | queue("length", "0x60")


case(
    "TaskErrorBudgetBurn",
    "one in five fails for half an hour",
    ended("0+8x30 240x410", "0+32x30 1000+40x410"),
    BURNT,
)
case("TaskErrorBudgetBurn", "one in a thousand", ended("0+1x60", "0+999x60"), {50: []})
case("TaskErrorBudgetBurn", "9 of 9 fail, which is little", ended("0x20 9x40", "0x60"), {26: [], 50: []})
case("TaskFailureRateHigh", "15 %", ended("0+3x12 36x20", "0+17x40"), {8: [at("ticket")], 25: []})
case("TaskFailureRateHigh", "30 %", ended("0+3x12 36x20", "0+7x40"), {8: [at("page"), at("ticket")], 30: []})
case("TaskFailureRateHigh", "4 of 4 fail, which is little", ended("0x12 4x20", "0x40"), {15: []})
case("TaskFailureRateHigh", "9 %", ended("0+9x30", "0+91x30"), {20: []})
case(
    "TaskRunningLong",
    "longer and longer, then it ends",
    worker("oldest_task_age_seconds", "0x2 500x3 580x3 0x3")
    | worker("task_limit_used_ratio", "0x2 0.83x3 0.97x3 0x3"),
    {2: [], 5: [at("ticket", **DEFAULT)], 9: both(**DEFAULT), 12: []},
)
case(
    "TaskRunningLong",
    "may run for an hour",
    worker("oldest_task_age_seconds", "580x9") | worker("task_limit_used_ratio", "0.16x9"),
    {8: []},
)
case(
    "TaskMemoryHigh",
    "more and more, then none",
    worker("largest_child_bytes", "100000000x1 1600000000x4 1950000000x4 100000000x3") | worker("up", "1x20"),
    {1: [], 5: [at("ticket", **DEFAULT)], 10: both(**DEFAULT), 14: []},
)
case("TaskMemoryHigh", "nearly", worker("largest_child_bytes", "1490000000x9") | worker("up", "1x9"), {8: []})
case(
    "TaskStuck",
    "beyond its limit, then its pool restarts",
    worker("task_limit_used_ratio", "0.5x2 1.2x4 0x3") | worker("up", "1x20"),
    {2: [], 5: [at("page", **DEFAULT)], 9: []},
)
case("TaskStuck", "at its limit", worker("task_limit_used_ratio", "0.99x9") | worker("up", "1x9"), {8: []})
case(
    "TaskTimeLimitExceeded",
    "the first one of all",
    queue("length", "0x40")
    | task("failed_total", "_x6 1x30", exception="billiard.exceptions.TimeLimitExceeded"),
    {5: [], 10: [at("ticket", **EMAIL)], 30: []},
)
case(
    "TaskTimeLimitExceeded",
    "another error",
    queue("length", "0x40") | task("failed_total", "_x6 9x30", exception="ValueError"),
    {10: []},
)
case(
    "RetryStorm",
    "two of three, then none",
    task("retried_total", "0+10x30 300x20") | task("started_total", "0+15x30 450x20"),
    {5: [], 20: [at("ticket", **EMAIL)], 45: []},
)
case(
    "RetryStorm",
    "four of five, which is little",
    task("retried_total", "0+4x30") | task("started_total", "0+5x30"),
    {20: []},
)
UNACKED, LIMIT = (
    'celery_unacked_oldest_age_seconds{worker="default@worker1"}',
    "celery_visibility_timeout_seconds",
)
case(
    "UnackedNearVisibilityTimeout",
    "held and done",
    {UNACKED: "0x1 3000x4 0x3", LIMIT: "3600x20"},
    {1: [], 5: [at("ticket", **DEFAULT)], 8: []},
)
case("UnackedNearVisibilityTimeout", "nearly", {UNACKED: "2800x9", LIMIT: "3600x9"}, {8: []})
case("UnackedNearVisibilityTimeout", "nothing is given away", {UNACKED: "9999x9"}, {8: []})
DEAD = 'celery_dead_letters{queue_name="email",reason="failed"}'
case(
    "DeadLettersGrowing",
    "more within an hour",
    {DEAD: "5x20 17x80"},
    {20: [], 30: [at("ticket", **EMAIL)], 95: []},
)
case("DeadLettersGrowing", "a few", {DEAD: "5x20 14x80"}, {25: [], 60: []})
case(
    "DeadLettersNearLimit",
    "nearly full, then purged",
    {DEAD: "100x1 8500x9 0x3", "celery_dead_letters_limit": "10000x20"},
    {4: [], 9: [at("ticket")], 13: []},
)
case("DeadLettersNearLimit", "room enough", {DEAD: "7900x9", "celery_dead_letters_limit": "10000x9"}, {8: []})

# --- workers and Beat
EXPECTED = worker("expected", "1x20") | REDIS
case(
    "WorkerMissing",
    "away and back",
    EXPECTED | worker("up", "1x1 0x5 1x3"),
    {1: [], 5: [at("ticket", **DEFAULT)], 9: []},
)
case("WorkerMissing", "drained", EXPECTED | worker("up", "0x9") | worker("draining", "1x9"), {8: []})
case(
    "WorkerMissing", "Redis is down", worker("expected", "1x9") | {"celery_exporter_redis_up": "0x9"}, {8: []}
)


def ghost(begun: str, busy: str) -> dict[str, str]:
    return {
        **worker("up", "1x40"),
        **queue(AGE, "200x40"),
        **worker("tasks_active", busy),
        **task("started_total", begun, worker="default@worker1"),
    }


case(
    "GhostWorker",
    "takes nothing, then does",
    ghost("7x15 8+1x20", "0x40"),
    {2: [], 10: [at("page", **DEFAULT)], 20: []},
)
case("GhostWorker", "works at one", ghost("7x40", "1x40"), {20: []})


def saturated(busy: str) -> dict[str, str]:
    return {
        **worker("up", "1x30"),
        **worker("concurrency", "4x30"),
        **worker("tasks_active", busy),
        **queue(AGE, "20x30"),
    }


case(
    "WorkerSaturated",
    "busy, then room",
    saturated("4x20 2x9"),
    {10: [], 18: [at("ticket", pool="default")], 23: []},
)
case("WorkerSaturated", "one slot is free", saturated("3x30"), {25: []})


def beat(values: str) -> dict[str, str]:
    return {"celery_beat_last_heartbeat_timestamp_seconds": values, "celery_beat_expected": "1x20", **REDIS}


case(
    "BeatStalled",
    "silent and back",
    beat("0+60x3 180x6 660+60x5"),
    {3: [], 6: [at("page", instance="monitor1")], 12: []},
)
case(
    "BeatStalled",
    "has never spoken",
    {"celery_beat_expected": "1x6", **REDIS},
    {4: [at("page", instance="monitor1")]},
)
case("BeatStalled", "alive", beat("0+60x20"), {10: []})
case("BeatStalled", "Redis is down", beat("0x20") | {"celery_exporter_redis_up": "0x20"}, {10: []})
LATE = 'celery_beat_schedule_entry_late_seconds{entry="report"}'
case(
    "BeatEntryLate",
    "late and sent",
    {LATE: "0x1 150x4 0x3"},
    {1: [], 5: [at("ticket", instance="monitor1", entry="report")], 8: []},
)
case("BeatEntryLate", "a little", {LATE: "100x9"}, {8: []})

# --- the watching itself
HERE = {"instance": "monitor1"}
case("Watchdog", "always", {"up": "1x5"}, {0: [at("none")], 5: [at("none")]})
case(
    "ExporterBlind",
    "refused and let in",
    redis("up", "1x20") | {"celery_exporter_redis_up": "1x1 0x6 1x3"},
    {1: [], 6: [at("page", **HERE)], 10: []},
)
case(
    "ExporterBlind",
    "away and back",
    redis("up", "1x20") | {"celery_exporter_redis_up": "_x6 1x9"},
    {4: [at("page", **HERE)], 8: []},
)
case("ExporterBlind", "Redis is down", redis("up", "0x9") | {"celery_exporter_redis_up": "0x9"}, {8: []})
CONFIG = 'prometheus_config_last_reload_successful{job="prometheus",instance="monitor1"}'
case(
    "PrometheusConfigRefused",
    "refused and mended",
    {CONFIG: "1x1 0x8 1x3"},
    {4: [], 8: [at("ticket", job="prometheus", **HERE)], 12: []},
)
case("PrometheusConfigRefused", "soon mended", {CONFIG: "1x1 0x3 1x9"}, {5: [], 9: []})
RULES = 'prometheus_rule_evaluation_failures_total{rule_group="x"}'
case(
    "PrometheusRuleFailures",
    "again and again, then mended",
    {RULES: "0+1x12 12x10"},
    {3: [], 9: [at("ticket", **HERE)], 20: []},
)
case("PrometheusRuleFailures", "once", {RULES: "0x2 1x20"}, {6: [], 7: [], 9: []})
for kind in ("compactions_failed", "wal_corruptions", "wal_writes_failed", "reloads_failures"):
    case(
        "PrometheusStorageFailing",
        kind,
        {f"prometheus_tsdb_{kind}_total": "0x2 1x80"},
        {2: [], 10: [at("ticket", **HERE)], 75: []},
    )
case("PrometheusStorageFailing", "long ago", {"prometheus_tsdb_wal_corruptions_total": "3x20"}, {15: []})
FAILED = 'alertmanager_notifications_failed_total{integration="webhook"}'
case(
    "NotificationsFailing",
    "refused, then taken",
    {FAILED: "0+1x8 8x10"},
    {0: [], 5: [at("ticket", integration="webhook", **HERE)], 16: []},
)
case(
    "NotificationsFailing",
    "Alertmanager is away",
    {"prometheus_notifications_errors_total": "0+1x8 8x10"},
    {5: [at("ticket", integration="Alertmanager", **HERE)], 16: []},
)
case("NotificationsFailing", "long ago", {FAILED: "8x10"}, {8: []})

# --- a fleet at work
WELL = {
    **REDIS,
    **ping("1x60", "1x60"),
    **disk("60x60"),
    **memory("60x60"),
    **unit("node_systemd_service_restart_total", "0x60"),
    **redis("up", "1x60"),
    **redis("memory_used_bytes", "20x60"),
    **redis("memory_max_bytes", "100x60"),
    **queue("consumers", "1x60"),
    **queue("length", "3x60"),
    **queue(AGE, "1x60"),
    **queue("paused", "0x60"),
    **histogram("queue_wait_time", "0+100x60", "0+100x60"),
    **histogram("runtime", "0+100x60", "0+100x60"),
    **task("started_total", "0+100x60", worker="default@worker1"),
    **task("retried_total", "0+1x60", worker="default@worker1"),
    **ended("0x60", "0+100x60"),
    **{key: value for metric, value in (
        ("expected", "1x60"), ("up", "1x60"), ("concurrency", "4x60"), ("tasks_active", "2x60"), ("draining", "0x60"),
        ("oldest_task_age_seconds", "5x60"), ("task_limit_used_ratio", "0.1x60"), ("largest_child_bytes", "80000000x60"),
    ) for key, value in worker(metric, value).items()},
    **{"celery_beat_expected": "1x60", "celery_beat_last_heartbeat_timestamp_seconds": "0+60x60", LATE: "0x60"},
    **{DEAD: "2x60", "celery_dead_letters_limit": "10000x60", CONFIG: "1x60", PROBE: "1x60"},
}  # fmt: skip
case("", "a fleet at work", WELL, {5: [], 20: [], 55: []})
case("", "an idle fleet", {
    key: ("0x60" if "_total" in key or "_count" in key or "_bucket" in key or "_length" in key or "age_seconds" in key
          or "tasks_active" in key or "ratio" in key else value)
    for key, value in WELL.items()
}, {5: [], 20: [], 55: []})  # fmt: skip

# --- near the bounds: a setting that is four times as much, or a quarter, fails one of these
# Two looks are not two minutes.
case("TargetDown", "a blink", {'up{job="redis",instance="redis1"}': "1 0 0 1 1"}, {2: []})
case("DiskFull", "a blink", disk("50 4 4 50 50"), {2: []})
case("ProbeFailed", "a blink", {PROBE: "1 0 0 1 1"}, {2: []})
case("QueueLatencyHigh", "a blink", queue(AGE, "0 40 40 0 0"), {2: []})
case(
    "ExporterBlind", "a blink", redis("up", "1x4") | {"celery_exporter_redis_up": "1 0 0 1 1"}, {2: [], 4: []}
)
case("DiskFillingUp", "within two days", disk("390-0.2x120", "1000x120"), {110: []})

for alert, metric in (("QueueLatencyBurn", "queue_wait_time"), ("TaskExecutionBurn", "runtime")):
    case(alert, "12 of 12 are late", histogram(metric, "0x5 12x40", "0x45"), {5: [], 8: both(**EMAIL)})
case("TaskErrorBudgetBurn", "12 of 12 fail", ended("0x5 12x40", "0x45"), {5: [], 8: both(**EMAIL)})

WAITS = {**stuck("7x20", "0x20"), **queue(AGE, "290x20")}
case("QueueStuck", "waits, but not yet for long", WAITS, {12: []})
case("QueueStuck", "one begins every four minutes", stuck("0x3 1x3 2x3 3x3", "0x20"), {7: [], 11: []})
case(
    "QueueStuck",
    "the last one began five minutes ago",
    stuck("0x2 5x20", "0x20"),
    {7: [], 11: [at("page", **EMAIL)]},
)
case("QueueStuck", "one look too early", stuck("7x20", "0x20"), {3: []})

LATER = [at("ticket", queue_name="celery")]
case("BacklogGrowing", "50 minutes of work", backlog("3000+1x60", "0+60x60"), {50: []})
case("BacklogGrowing", "100 minutes of work", backlog("6000+10x60", "0+60x60"), {30: LATER})
case("BacklogGrowing", "a hundred", backlog("100+1x60", "0+1x60"), {30: LATER})
case("BacklogGrowing", "less than fifty", backlog("20+0.5x60", "0+0.2x60"), {50: []})
case(
    "BacklogGrowing",
    "has grown for a while",
    backlog("6000-100x50 1000+20x40", "0+1x95"),
    {45: [], 88: LATER},
)
case("BacklogGrowing", "shrinks, but for a moment", backlog("6000-100x50 1000+20x20", "0+1x75"), {68: []})
case("BacklogGrowing", "not yet for ten minutes", backlog("0x20 100+100x40", "0+1x65"), {27: []})

case("TaskFailureRateHigh", "one of six", ended("0+1x12 12x20", "0+5x40"), {12: [at("ticket")]})
case(
    "TaskFailureRateHigh",
    "six minutes ago",
    ended("0x5 10 20x20", "0+2x40"),
    {12: [at("page"), at("ticket")]},
)
case("TaskFailureRateHigh", "one look too early", ended("0x5 20x20", "0+2x40"), {6: []})


def running(seconds: str, share: str) -> dict[str, str]:
    return worker("oldest_task_age_seconds", seconds) | worker("task_limit_used_ratio", share)


FIRST = [at("ticket", **DEFAULT)]
case("TaskRunningLong", "470 s", running("470x9", "0.97x9"), {8: []})
case("TaskRunningLong", "500 s of 633", running("500x9", "0.79x9"), {8: []})
case("TaskRunningLong", "560 s", running("560x9", "0.97x9"), {8: FIRST})
case("TaskRunningLong", "580 s of 617", running("580x9", "0.94x9"), {8: FIRST})

case(
    "RetryStorm", "one of four", task("retried_total", "0+10x30") | task("started_total", "0+40x30"), {20: []}
)
case(
    "RetryStorm",
    "all, and soon over",
    task("retried_total", "0x5 60x30") | task("started_total", "0x5 60x3 90+60x30"),
    {9: [], 20: []},
)
case(
    "DeadLettersGrowing",
    "one every five minutes",
    {DEAD: "0x4 1x4 2x4 3x4 4x4 5x4 6x4 7x4 8x4 9x4 10x4 11x4 12x4 13x4 14x4"},
    {20: [], 70: [at("ticket", **EMAIL)]},
)

case("GhostWorker", "nothing waits for long", ghost("7x40", "0x40") | queue(AGE, "110x40"), {20: []})
case("GhostWorker", "took one seven minutes ago", ghost("0x5 1x6 2x6 3x6 4x6", "0x40"), {20: [], 25: []})
case("GhostWorker", "took one twenty minutes ago", ghost("0x5 1x40", "0x40"), {25: [at("page", **DEFAULT)]})

case("BeatStalled", "silent for a minute", beat("-60+60x20"), {5: [at("page", instance="monitor1")]})
case("BeatStalled", "spoke 20 seconds ago", beat("-20+60x20"), {10: []})

case(
    "PrometheusStorageFailing",
    "half an hour ago",
    {"prometheus_tsdb_wal_corruptions_total": "0x2 1x80"},
    {32: [at("ticket", **HERE)]},
)
case(
    "NotificationsFailing",
    "four minutes ago",
    {FAILED: "0x2 3x20"},
    {6: [at("ticket", integration="webhook", **HERE)], 12: []},
)
case(
    "NotificationsFailing",
    "at its second look",
    {FAILED: "0+3x8"},
    {3: [at("ticket", integration="webhook", **HERE)]},
)
