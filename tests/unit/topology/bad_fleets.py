"""Bad inventories: a change of the good fleet, where the problem is told, and words that it must say."""

from dataclasses import dataclass

from unit.topology.fleets import (
    Change,
    address,
    both,
    bulk_pool,
    every,
    groups,
    new_route,
    one,
    pool,
    unset,
)

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Bad:
    """`alone`: nothing else may be told. `host`: the first host named; None: it concerns the fleet."""

    id: str
    change: Change
    where: Where
    words: tuple[str, ...]
    host: str | None = None
    alone: bool = True


def bad(
    name: str, change: Change, where: Where | str, *words: str, host: str | None = None, alone: bool = True
) -> Bad:
    return Bad(name, change, (where,) if isinstance(where, str) else where, words, host, alone)


def queue(name: str, key: str, value: object, *words: str) -> Bad:
    """A bad value in the queue `email`."""
    where = ("celery_queues", "email", *key.split("."))
    return bad(f"queue: {name}", every(*where, to=value), where, *words)


def retry(name: str, key: str, value: object, *words: str) -> Bad:
    """A bad value in the retry policy of the queue `bulk`."""
    where = ("celery_queues", "bulk", "retry", key)
    return bad(f"retry: {name}", every(*where, to=value), where, *words)


def routed(name: str, position: int, key: str, value: object, *words: str) -> Bad:
    """A bad value in a route."""
    where = ("celery_task_routes", position, key)
    return bad(f"route: {name}", every(*where, to=value), where, *words)


def beat(name: str, entry: str, key: str, value: object, *words: str) -> Bad:
    """A bad value in a beat entry."""
    where = ("celery_beat_schedule", entry, key)
    return bad(f"beat: {name}", every(*where, to=value), where, *words)


def pooled(name: str, settings: dict[str, object], where: str | Where, *words: str) -> Bad:
    """Bad settings of the pool `default` of worker1, which is prefork."""
    below = (where,) if isinstance(where, str) else where
    return bad(
        f"pool: {name}", pool(**settings), ("celery_worker_pools", "default", *below), *words, host="worker1"
    )


def waiting(name: str, settings: dict[str, object], where: str, *words: str) -> Bad:
    """Bad settings of the pool `bulk` of worker2, whose queue has no limits of its own."""
    place = ("celery_worker_pools", "bulk", where)
    return bad(f"pool: {name}", bulk_pool(**settings), place, *words, host="worker2")


QUEUES = "celery_queues"
ROUTES = "celery_task_routes"
BEAT = "celery_beat_schedule"
POOLS = "celery_worker_pools"
HOST_QUEUE = "celery_host_queue"

BAD = [
    # fleet-wide variables
    bad("no app", unset("celery_app"), "celery_app", "not set"),
    bad(
        "delivery of a kind that is none",
        every("celery_delivery", to="atomc"),
        "celery_delivery",
        "'atomc' is not a way of delivery",
        "did you mean atomic?",
    ),
    bad(
        "recovery that would take workers for dead which are not",
        every("celery_recovery_timeout", to="2s"),
        "celery_recovery_timeout",
        "less than 5 s",
    ),
    bad(
        "app is a path",
        every("celery_app", to="src/app.py"),
        "celery_app",
        "'src/app.py'",
        "module:attribute",
    ),
    bad("app is null", every("celery_app", to=None), "celery_app", "null is not an app"),
    bad("source is a list", every("celery_app_source", to=["a"]), "celery_app_source", "a list of 1 item"),
    bad(
        "limit has no unit that is known",
        every("celery_time_limit", to="30min"),
        "celery_time_limit",
        "'30min'",
        "30m",
    ),
    bad("limit is null", every("celery_time_limit", to=None), "celery_time_limit", "null is not a duration"),
    bad(
        "limit is a switch",
        every("celery_time_limit", to=True),
        "celery_time_limit",
        "true is not a duration",
    ),
    bad("limit is zero", every("celery_time_limit", to=0), "celery_time_limit", "less than 1 s"),
    bad(
        "fleet: soft limit not below the hard one",
        every("celery_soft_time_limit", to="30m"),
        "celery_soft_time_limit",
        "soft_time_limit 30m is not below time_limit 30m",
        "raise time_limit",
    ),
    bad(
        "retry is a number",
        every("celery_retry", to=3),
        "celery_retry",
        "3 is not the settings of a retry policy",
    ),
    bad("queues are a list", every(QUEUES, to=["celery"]), QUEUES, "a list of 1 item", "write a mapping"),
    bad("routes are a mapping", every(ROUTES, to={"a": "b"}), ROUTES, "a mapping is not a list of routes"),
    bad("routes are null", every(ROUTES, to=None), ROUTES, "null is not a list"),
    bad("schedule is a list", every(BEAT, to=[1]), BEAT, "a list of 1 item"),
    bad(
        "default queue is a number",
        every("celery_default_queue", to=5),
        "celery_default_queue",
        "5 is not a name",
    ),
    bad(
        "default queue is unknown",
        every("celery_default_queue", to="mail"),
        "celery_default_queue",
        "did you mean email?",
    ),
    bad(
        "default queue is left at its default",
        both(every(QUEUES, to={"email": {}, "bulk": {}}), pool(queues=["email"])),
        "celery_default_queue",
        "'celery' is not defined",
        "unrouted",
    ),
    # names of variables
    bad(
        "variable misspelt",
        every("celery_worker_pool", to={}),
        "celery_worker_pool",
        "did you mean celery_worker_pools?",
    ),
    bad(
        "variable of Celery",
        every("celery_worker_concurrency", to=4),
        "celery_worker_concurrency",
        "concurrency of a pool",
    ),
    bad(
        "variable of Celery, a broker", every("celery_broker_url", to="x"), "celery_broker_url", "redis group"
    ),
    bad("variable under another name", every("celery_routes", to=[]), "celery_routes", "celery_task_routes"),
    bad(
        "variable of Redis misspelt",
        every("redis_max_memory", to="1G"),
        "redis_max_memory",
        "redis_maxmemory",
    ),
    bad(
        "variable misspelt on one host",
        one("worker2", "celery_host_cpu", to=4),
        "celery_host_cpu",
        host="worker2",
    ),
    # deployments
    bad(
        "commands are one",
        every("celery_pre_deploy", to="shop-migrate"),
        "celery_pre_deploy",
        "'shop-migrate' is not a list of commands",
        "write a list",
    ),
    bad(
        "command is empty",
        every("celery_post_deploy", to=["true", " "]),
        ("celery_post_deploy", 1),
        "' ' is not a command",
    ),
    bad(
        "health task is a pattern",
        every("celery_health_task", to="shop.*"),
        "celery_health_task",
        "'shop.*' is not a name of a task",
    ),
    bad(
        "health task differs between hosts",
        one("worker1", "celery_health_task", to="shop.ping"),
        "celery_health_task",
        "not the same on every host",
    ),
    # queues of hosts
    bad(
        "own queue: wrong settings",
        one("worker1", HOST_QUEUE, to={"queue": {"priority": 11}, "pool": {"queues": ["x"]}}),
        (HOST_QUEUE, "queue", "priority"),
        "11 is not a priority",
        host="worker1",
        alone=False,
    ),
    bad(
        "own queue: its pool names queues",
        one("worker1", HOST_QUEUE, to={"pool": {"queues": ["celery"]}}),
        (HOST_QUEUE, "pool", "queues"),
        "'queues' is not a setting of a host's own pool",
        host="worker1",
    ),
    bad(
        "own queue: settings that do not fit together",
        one("worker1", HOST_QUEUE, to={"queue": {"time_limit": 30, "soft_time_limit": 60}}),
        (HOST_QUEUE, "queue", "soft_time_limit"),
        "soft_time_limit 1m is not below time_limit 30s",
        host="worker1",
    ),
    bad(
        "own queue: a pool that cannot enforce its limit",
        one("worker1", HOST_QUEUE, to={"queue": {"time_limit": 30}, "pool": {"kind": "solo"}}),
        (HOST_QUEUE, "pool", "kind"),
        "cannot enforce celery_queues.worker1.time_limit (30s)",
        host="worker1",
        alone=False,
    ),
    bad(
        "own queue: defined by hand, too",
        both(one("worker1", HOST_QUEUE, to=True), every(QUEUES, "worker1", to={}), pool(queues=["worker1"])),
        HOST_QUEUE,
        "the queue 'worker1' is in celery_queues, too",
        "settings go under queue of celery_host_queue",
        host="worker1",
        alone=False,
    ),
    bad(
        "own queue: a pool of its name",
        both(
            one("worker1", HOST_QUEUE, to=True), one("worker1", POOLS, "worker1", to={"queues": ["celery"]})
        ),
        HOST_QUEUE,
        "the pool 'worker1' is in celery_worker_pools, too",
        host="worker1",
    ),
    bad(
        "own queue: of a host that runs no tasks",
        one("redis1", HOST_QUEUE, to=True),
        HOST_QUEUE,
        "not in the group workers",
        "'redis1'",
        host="redis1",
    ),
    bad(
        "own queue: consumed elsewhere",
        both(one("worker1", HOST_QUEUE, to=True), bulk_pool(queues=["bulk", "worker1"])),
        (POOLS, "bulk", "queues", 1),
        "that of the host worker1",
        host="worker2",
    ),
    bad(
        "own queue: a host whose name no queue can have",
        lambda fleet: fleet.update(
            groups={"redis": ["a b"], "workers": ["a b"]},
            hosts={"a b": {"address": "10.0.0.1", "vars": {"celery_app": "shop", HOST_QUEUE: True}}},
        ),
        HOST_QUEUE,
        "'a b' is not a name of a queue",
        "give the host another name",
        host="a b",
    ),
    bad(
        "own queue: a word",
        one("worker1", HOST_QUEUE, to="yes please"),
        HOST_QUEUE,
        "'yes please' is not the settings of a host's own queue",
        host="worker1",
    ),
    # queues
    bad(
        "queue is a string",
        every(QUEUES, "email", to="fast"),
        (QUEUES, "email"),
        "'fast' is not the settings of a queue",
    ),
    bad(
        "queue has a bad name",
        every(QUEUES, "a b", to={}),
        (QUEUES, "a b"),
        "'a b' is not a name",
        alone=False,
    ),
    bad(
        "queue has a number for a name", every(QUEUES, 7, to={}), (QUEUES, "7"), "quote numbers", alone=False
    ),
    bad(
        "queue that nobody consumes",
        every(QUEUES, "idle", to={}),
        (QUEUES, "idle"),
        "no pool consumes",
        "add it",
    ),
    queue("key misspelt", "prioritty", 3, "not a setting of a queue", "did you mean priority?"),
    queue("key of Celery", "task_time_limit", 3, "setting of Celery", "time_limit"),
    queue("key of a retry policy", "max_retries", 3, "under retry"),
    queue("no delivery at all", "max_deliveries", 0, "0 is not a number of deliveries from 1"),
    queue("key that nothing resembles", "colour", "red", "use one of description, max_deliveries"),
    queue("priority too high", "priority", 11, "11 is not a priority from 1 to 10"),
    queue("priority zero", "priority", 0, "0 is not a priority"),
    queue("priority is a word", "priority", "high", "'high' is not a priority"),
    queue("priority is a fraction", "priority", 2.5, "2.5 is not a priority"),
    queue("urgency unknown", "urgency", "urgnt", "'urgnt' is not an urgency", "did you mean urgent?"),
    queue("description is a list", "description", ["a"], "a list of 1 item is not a description"),
    queue("hard limit negative", "time_limit", -5, "-5 is not a duration", "negative"),
    queue("hard limit absurd", "time_limit", "9999d", "longer than ten years"),
    queue(
        "soft limit equals the hard one",
        "soft_time_limit",
        60,
        "soft_time_limit 1m is not below time_limit 1m",
    ),
    queue("retry is a word", "retry", "often", "'often' is not the settings of a retry policy"),
    bad(
        "queue: hard limit below the soft one of the fleet",
        every(QUEUES, "bulk", "time_limit", to="10m"),
        (QUEUES, "bulk", "time_limit"),
        "soft_time_limit 25m (from celery_soft_time_limit) is not below time_limit 10m",
        "null: none",
    ),
    bad(
        "queue: soft limit above the hard one of the fleet",
        every(QUEUES, "bulk", "soft_time_limit", to="40m"),
        (QUEUES, "bulk", "soft_time_limit"),
        "time_limit 30m (from celery_time_limit)",
        alone=False,
    ),
    # retry policies
    retry("its queue is not defined", "queue", "emial", "'emial' is not defined", "did you mean email?"),
    retry("key misspelt", "max_retrys", 3, "did you mean max_retries?"),
    retry("key of Celery", "retry_backoff_max", 3, "max_delay"),
    retry("negative", "max_retries", -1, "-1 is not a number of retries", "or forever"),
    retry("a word", "max_retries", "always", "'always'", "forever"),
    retry("backoff below 1", "backoff", 0.5, "0.5 is not a backoff factor from 1"),
    retry("backoff is no number", "backoff", "nan", "'nan' is not a backoff factor"),
    retry("delay is no duration", "delay", "soon", "'soon' is not a duration"),
    retry(
        "max_delay below the inherited delay",
        "max_delay",
        5,
        "max_delay 5s is less than delay 10s (from celery_retry.delay)",
    ),
    retry(
        "delay above the default max_delay",
        "delay",
        "1h",
        "max_delay 10m (the default) is less than delay 1h",
    ),
    retry("max_age below delay", "max_age", 5, "max_age 5s is less than delay 10s", "ever tried again"),
    retry("jitter is a word", "jitter", "some", "'some' is not a switch", "true or false"),
    retry(
        "exceptions are a string", "exceptions", "TimeoutError", "not a list of exceptions", "[TimeoutError]"
    ),
    bad(
        "retry: exception is not a dotted name",
        every(QUEUES, "bulk", "retry", "exceptions", to=["requests timeout"]),
        (QUEUES, "bulk", "retry", "exceptions", 0),
        "'requests timeout' is not a name of an exception",
    ),
    bad(
        "retry: exception is not builtin",
        every("celery_retry", "exceptions", to=["OSError", "Timeout"]),
        ("celery_retry", "exceptions", 1),
        "no builtin exception",
        "requests.exceptions.Timeout",
    ),
    bad(
        "retry: exception would catch exits",
        every("celery_retry", "exceptions", to=["SystemExit"]),
        ("celery_retry", "exceptions", 0),
        "'SystemExit'",
    ),
    bad(
        "retry: delay of the fleet",
        every("celery_retry", to={"delay": "2h", "max_delay": "1h"}),
        ("celery_retry", "max_delay"),
        "max_delay 1h is less than delay 2h",
    ),
    # routes
    bad("route is a string", every(ROUTES, 2, to="shop.*"), (ROUTES, 2), "not the settings of a route"),
    bad("route has no queue", new_route(task="shop.x"), (ROUTES, 3, "queue"), "a route has no queue"),
    bad("route has no task", new_route(queue="bulk"), (ROUTES, 3, "task"), "a route has no task"),
    bad(
        "route repeats an earlier one",
        new_route(task="shop.report", queue="celery"),
        (ROUTES, 3, "task"),
        "never reached",
    ),
    bad(
        "route comes after one for everything",
        both(new_route(task="*", queue="celery"), new_route(task="shop.sum", queue="bulk")),
        (ROUTES, 4, "task"),
        "'shop.sum' is never reached",
        "celery_task_routes[3] ('*')",
    ),
    bad(
        "route comes after a more general one",
        new_route(task="shop.email.bulk.*", queue="bulk"),
        (ROUTES, 3, "task"),
        "celery_task_routes[1]",
        "before the general one",
    ),
    queue("sensitive is no switch", "sensitive", "perhaps", "give true or false"),
    routed("sensitive is no switch", 0, "sensitive", "perhaps", "give true or false"),
    bad(
        "sensitive arguments are no list",
        every("celery_sensitive_arguments", to="password"),
        "celery_sensitive_arguments",
        "write [password]",
    ),
    routed("unknown queue", 2, "queue", "bulky", "'bulky' is not defined", "did you mean bulk?"),
    routed("key misspelt", 0, "prority", 3, "did you mean priority?"),
    routed("key of AMQP", 0, "exchange", "x", "Redis has no exchanges"),
    routed("priority", 0, "priority", 99, "99 is not a priority"),
    routed("task with a blank", 0, "task", "shop email", "'shop email' is not a name of a task or a pattern"),
    routed("soft limit", 1, "soft_time_limit", 41, "soft_time_limit 41s is not below time_limit 40s"),
    routed(
        "soft limit not below the hard one of its queue",
        0,
        "soft_time_limit",
        70,
        "soft_time_limit 70s is not below time_limit 1m (from celery_queues.email.time_limit)",
    ),
    # beat
    bad("beat: no task", every(BEAT, "new", to={"schedule": 5}), (BEAT, "new", "task"), "has no task"),
    bad(
        "beat: name with a slash",
        every(BEAT, "a/b", to={"task": "x", "schedule": 5}),
        (BEAT, "a/b"),
        "not a name",
    ),
    beat("key misspelt", "clean", "arg", [1], "did you mean args?"),
    beat("unknown queue", "report", "queue", "reports", "'reports' is not defined"),
    beat("schedule zero", "clean", "schedule", 0, "0 is not a schedule", "at least a second"),
    beat("schedule negative", "clean", "schedule", -300, "negative"),
    beat("schedule with a sixth field", "clean", "schedule", "* * * * * *", "6 fields"),
    beat("minute 60", "clean", "schedule", "60 * * * *", "its minute '60' is not 0-59"),
    beat("hour 24", "clean", "schedule", "0 24 * * *", "its hour '24' is not 0-23"),
    beat("weekday 7", "clean", "schedule", "0 0 * * 7", "its day of week '7'", "sun, mon"),
    beat("step 0", "clean", "schedule", "*/0 * * * *", "step of 0"),
    beat("step of a number", "clean", "schedule", "5/10 * * * *", "step but no range"),
    beat("empty part", "clean", "schedule", "5,,6 * * * *", "its minute '5,,6'"),
    beat("30 February", "clean", "schedule", "0 0 30 2 *", "never occurs"),
    beat("macro", "clean", "schedule", "@hourly", "'@hourly' is not a schedule"),
    beat("task is a pattern", "clean", "task", "shop.*", "'shop.*' is not a name of a task"),
    beat("args are a string", "clean", "args", "x", "'x' is not a list of arguments"),
    beat("kwargs are a list", "clean", "kwargs", [1], "a list of 1 item is not a mapping"),
    # pools
    bad("pools are a list", one("worker1", POOLS, to=["celery"]), POOLS, "a list of 1 item", host="worker1"),
    bad(
        "pool is a string",
        one("worker1", POOLS, "default", to="celery"),
        (POOLS, "default"),
        "'celery'",
        host="worker1",
    ),
    bad("no pool", one("worker1", POOLS, to={}), POOLS, "no pool", host="worker1", alone=False),
    bad(
        "pool name cannot be a unit",
        one("worker1", POOLS, "a@b", to={"queues": ["celery"]}),
        (POOLS, "a@b"),
        "'a@b' is not a name of a pool",
        "systemd",
        host="worker1",
    ),
    bad(
        "pool has no queues",
        one("worker1", POOLS, "x", to={}),
        (POOLS, "x", "queues"),
        "no queues",
        host="worker1",
    ),
    pooled("queues are empty", {"queues": []}, "queues", "empty", "at least one"),
    pooled("queues are a string", {"queues": "celery"}, "queues", "'celery' is not a list", "[celery]"),
    pooled(
        "queue twice", {"queues": ["celery", "email", "celery"]}, ("queues", 2), "'celery' is listed twice"
    ),
    pooled(
        "queue unknown",
        {"queues": ["celery", "email", "emial"]},
        ("queues", 2),
        "'emial'",
        "did you mean email?",
    ),
    pooled("key misspelt", {"concurency": 3}, "concurency", "did you mean concurrency?"),
    pooled(
        "key of Celery", {"worker_prefetch_multiplier": 3}, "worker_prefetch_multiplier", "setting of Celery"
    ),
    pooled("key of the command line", {"loglevel": "info"}, "loglevel", "did you mean log_level?"),
    pooled("limit in the wrong place", {"time_limit": 3}, "time_limit", "of a queue"),
    pooled("kind misspelt", {"kind": "preforked"}, "kind", "'preforked'", "did you mean prefork?"),
    pooled("kind of Celery that is not offered", {"kind": "eventlet"}, "kind", "'eventlet'", "gevent"),
    pooled("concurrency zero", {"concurrency": 0}, "concurrency", "0 is not a concurrency"),
    pooled("concurrency is a word", {"concurrency": "many"}, "concurrency", "or auto"),
    pooled("concurrency is a switch", {"concurrency": True}, "concurrency", "true is not a concurrency"),
    pooled(
        "autoscale and concurrency",
        {"autoscale": {"min": 2, "max": 8}, "concurrency": 4},
        "autoscale",
        "exclude",
    ),
    pooled(
        "autoscale min above max",
        {"autoscale": {"min": 9, "max": 8}},
        ("autoscale", "min"),
        "9 is more than max 8",
    ),
    pooled("autoscale without max", {"autoscale": {"min": 2}}, ("autoscale", "max"), "has no max"),
    pooled(
        "autoscale is a string",
        {"autoscale": "8,2"},
        "autoscale",
        "'8,2' is not the settings of autoscale",
        "min, max",
    ),
    pooled(
        "prefetch zero", {"prefetch_multiplier": 0}, "prefetch_multiplier", "0 is not a prefetch multiplier"
    ),
    pooled(
        "memory in an unknown unit",
        {"memory_per_child": "2GB"},
        "memory_per_child",
        "'2GB' is not a size",
        "512M",
    ),
    pooled("memory without a unit", {"memory_per_child": 512}, "memory_per_child", "without a unit is bytes"),
    pooled("memory too small", {"memory_per_child": "10M"}, "memory_per_child", "less than 64M"),
    pooled("memory of the parent is negative", {"memory_parent": -1}, "memory_parent", "negative"),
    pooled(
        "tasks per child zero",
        {"max_tasks_per_child": 0},
        "max_tasks_per_child",
        "0 is not a number of tasks",
    ),
    pooled(
        "stop policy",
        {"stop_policy": "kill"},
        "stop_policy",
        "'kill' is not a stop policy",
        "finish, requeue",
    ),
    pooled("stop timeout", {"stop_timeout": "later"}, "stop_timeout", "'later' is not a duration or auto"),
    pooled(
        "stop shorter than the longest task",
        {"stop_timeout": 60},
        "stop_timeout",
        "1m is shorter",
        "30m",
        "requeue",
    ),
    waiting(
        "cancels what it cannot end",
        {"kind": "threads", "on_connection_loss": "cancel"},
        "on_connection_loss",
        "a pool of kind threads cannot end a running task",
        "continue",
        "prefork",
    ),
    pooled("log level", {"log_level": "verbose"}, "log_level", "'verbose' is not a log level"),
    waiting(
        "autoscale of gevent",
        {"autoscale": {"min": 1, "max": 9}},
        "autoscale",
        "kind gevent cannot be scaled",
    ),
    waiting("tasks per child of gevent", {"max_tasks_per_child": 9}, "max_tasks_per_child", "no children"),
    waiting(
        "memory per child of threads",
        {"kind": "threads", "memory_per_child": "1G"},
        "memory_per_child",
        "no children",
    ),
    waiting(
        "concurrency of solo", {"kind": "solo", "concurrency": 2}, "concurrency", "one task at a time, not 2"
    ),
    bad(
        "pool: threads cannot enforce a hard limit",
        both(bulk_pool(kind="threads"), every(QUEUES, "bulk", "time_limit", to="2h")),
        (POOLS, "bulk", "kind"),
        "kind threads cannot enforce celery_queues.bulk.time_limit (2h)",
        host="worker2",
    ),
    bad(
        "pool: solo cannot enforce a limit of a route",
        both(bulk_pool(kind="solo"), every(ROUTES, 2, "time_limit", to="2h")),
        (POOLS, "bulk", "kind"),
        "kind solo cannot enforce celery_task_routes[2].time_limit (2h)",
        host="worker2",
    ),
    bad(
        "pool: gevent cannot enforce a soft limit",
        every(QUEUES, "bulk", "soft_time_limit", to="5m"),
        (POOLS, "bulk", "kind"),
        "kind gevent cannot enforce celery_queues.bulk.soft_time_limit (5m)",
        "prefork",
        host="worker2",
    ),
    # environments
    bad(
        "environment is a string",
        every("celery_environment", to="A=s3cret"),
        "celery_environment",
        "{NAME: value}",
        host="redis1",
    ),
    bad(
        "environment name",
        every("celery_environment", "A-B", to="s3cret"),
        ("celery_environment", "A-B"),
        "'A-B'",
        host="redis1",
    ),
    bad(
        "environment value",
        every("celery_environment", "A", to=["s3cret"]),
        ("celery_environment", "A"),
        "not a string",
        host="redis1",
    ),
    bad(
        "environment null",
        every("celery_environment", "A", to=None),
        ("celery_environment", "A"),
        '""',
        host="redis1",
    ),
    pooled(
        "environment of the fleet",
        {"environment": {"CELERY_BROKER_URL": "s3cret"}},
        ("environment", "CELERY_BROKER_URL"),
        "the fleet itself sets CELERY_BROKER_URL",
    ),
    pooled(
        "environment prefix",
        {"environment": {"CELERY_FLEET_POOL": "s3cret"}},
        ("environment", "CELERY_FLEET_POOL"),
        "the fleet itself sets",
    ),
    # sandboxes
    pooled(
        "sandbox: a directive that it does not have",
        {"sandbox": {"ReadWritePath": ["/srv"]}},
        ("sandbox", "ReadWritePath"),
        "did you mean ReadWritePaths?",
    ),
    pooled(
        "sandbox: one path that is no list",
        {"sandbox": {"ReadWritePaths": "/srv"}},
        ("sandbox", "ReadWritePaths"),
    ),
    pooled(
        "sandbox: a relative path",
        {"sandbox": {"ReadWritePaths": ["srv"]}},
        ("sandbox", "ReadWritePaths", 0),
        "'srv' is not a path",
    ),
    pooled(
        "sandbox: a path with a line of its own",
        {"sandbox": {"ReadWritePaths": ["/srv\nExecStart=/bin/sh"]}},
        ("sandbox", "ReadWritePaths", 0),
        "is not a path",
    ),
    pooled(
        "sandbox: a word for a switch",
        {"sandbox": {"PrivateDevices": "maybe"}},
        ("sandbox", "PrivateDevices"),
        "true or false",
    ),
    pooled(
        "sandbox: a capability without its name",
        {"sandbox": {"AmbientCapabilities": ["NET_RAW"]}},
        ("sandbox", "AmbientCapabilities", 0),
        "CAP_NET_RAW",
    ),
    # hosts
    bad(
        "CPUs zero",
        one("worker1", "celery_host_cpus", to=0),
        "celery_host_cpus",
        "0 is not a number of CPUs",
        host="worker1",
    ),
    bad(
        "memory",
        one("worker1", "celery_host_memory", to="lots"),
        "celery_host_memory",
        "'lots' is not a size",
        host="worker1",
    ),
    bad(
        "reserve",
        one("worker1", "celery_system_reserve", to="10%"),
        "celery_system_reserve",
        "'10%'",
        host="worker1",
    ),
    bad(
        "maxmemory",
        one("redis1", "redis_maxmemory", to="1mb"),
        "redis_maxmemory",
        "'1mb' is not a size",
        host="redis1",
    ),
    # groups and addresses
    bad("no redis host", groups(redis=[]), ("groups", "redis"), "no host has Redis"),
    bad(
        "two redis hosts",
        groups(redis=["redis1", "worker1"]),
        ("groups", "redis"),
        "2 hosts",
        "redis1, worker1",
    ),
    bad("no workers", groups(workers=[]), ("groups", "workers"), "no host runs tasks"),
    bad("two Beats", groups(beat=["redis1", "worker1"]), ("groups", "beat"), "two Beats would start every"),
    bad(
        "two monitoring hosts", groups(monitoring=["redis1", "worker1"]), ("groups", "monitoring"), "2 hosts"
    ),
    bad("two hosts for traces", groups(tracing=["redis1", "worker1"]), ("groups", "tracing"), "2 hosts"),
    bad(
        "traces to no address",
        every("celery_tracing", "endpoint", to="jaeger:4318"),
        ("celery_tracing", "endpoint"),
        "'jaeger:4318' is not an address of a backend",
        "http://10.0.0.5:4318",
    ),
    bad(
        "traces with a password in the address",
        every("celery_tracing", "endpoint", to="https://me:secret@example.org"),
        ("celery_tracing", "endpoint"),
        "celery_tracing_headers",
    ),
    bad(
        "more than all traces",
        every("celery_tracing", "sample_ratio", to=1.5),
        ("celery_tracing", "sample_ratio"),
        "1.5 is not a part of all traces from 0 to 1",
    ),
    bad(
        "a word that traces do not have",
        every("celery_tracing", "ratio", to=1),
        ("celery_tracing", "ratio"),
        "use one of endpoint, sample_ratio",
    ),
    bad(
        "a type of task that names a pattern",
        every("celery_task_types", to={"mail": "app.mail.*"}),
        ("celery_task_types", "mail"),
        "name of a task",
    ),
    bad(
        "types of tasks as a list",
        every("celery_task_types", to=["a.b"]),
        "celery_task_types",
        "a list of 1 item",
    ),
    bad("a schedule and no Beat", groups(beat=[]), BEAT, "no host runs Beat", "group beat"),
    bad("unknown host", groups(monitoring=["redis9"]), ("groups", "monitoring"), "'redis9' is not a host"),
    bad(
        "public address of Redis",
        address("redis1", "8.8.8.8"),
        "base_address",
        "public",
        "base_address",
        host="redis1",
    ),
    bad(
        "public IPv6 address of Redis",
        address("redis1", "2a01:4f8::1"),
        "base_address",
        "public",
        host="redis1",
    ),
    bad(
        "Redis on loopback",
        address("redis1", "127.0.0.1"),
        "base_address",
        "from its own host alone",
        host="redis1",
    ),
    bad("Redis on localhost", address("redis1", "localhost"), "base_address", "'localhost'", host="redis1"),
    bad("address is a number", address("worker1", 5), "base_address", "5 is not an address", host="worker1"),
    bad(
        "hosts do not agree",
        one("worker2", "celery_app", to="shop.other:app"),
        "celery_app",
        "not the same on every host",
        "redis1, worker1; worker2",
        "group_vars/all",
    ),
    bad(
        "hosts do not agree on a queue",
        one("worker2", QUEUES, "email", "priority", to=4),
        QUEUES,
        "redis1, worker1; worker2",
    ),
]
