"""The dashboard `redis`: has it room, is it quick, does it keep what it is given?"""

from .model import (
    APART,
    BAD,
    BUSY,
    BYTE_RATE,
    BYTES,
    COUNT,
    GOOD,
    RATE,
    SECONDS,
    SHARE,
    WARN,
    Dashboard,
    Panel,
    Query,
    Section,
    Threshold,
    Variable,
)
from .parts import stat

_OF = 'instance=~"$instance"'


def _rate(metric: str) -> str:
    return f"rate({metric}{{{_OF}}}[$__rate_interval])"


def _top(metric: str) -> str:
    """The same eight commands all over the time shown."""
    return f"topk(8, sum by (cmd) (increase({metric}{{{_OF}}}[$__range] @ end())))"


REDIS = Dashboard(
    "redis",
    "Redis",
    "The server that holds queues, results and the fleet's state.",
    (
        Section(
            "Now",
            (
                stat(
                    "up",
                    "Answers",
                    "1: the exporter reaches it.",
                    COUNT,
                    f"min(redis_up{{{_OF}}})",
                    Threshold(1, BAD),
                    below=True,
                ),
                stat(
                    "memory-share",
                    "Memory used",
                    "Of the limit. When it is full, nothing more can be sent.",
                    SHARE,
                    f"max(redis_memory_used_bytes{{{_OF}}} / (redis_memory_max_bytes{{{_OF}}} > 0))",
                    Threshold(0.8, WARN),
                    Threshold(0.9, BAD),
                ),
                stat(
                    "clients-share",
                    "Connections used",
                    "Of the limit.",
                    SHARE,
                    f"max(redis_connected_clients{{{_OF}}} / redis_config_maxclients{{{_OF}}})",
                    Threshold(0.8, WARN),
                    Threshold(0.9, BAD),
                ),
                stat(
                    "commands",
                    "Commands",
                    "A second.",
                    RATE,
                    f"sum({_rate('redis_commands_processed_total')})",
                ),
                stat(
                    "writes-well",
                    "Writes to its disk",
                    "1: the last write of the append-only file, and the last snapshot, went well.",
                    COUNT,
                    f"min(redis_aof_last_write_status{{{_OF}}}) * min(redis_rdb_last_bgsave_status{{{_OF}}})",
                    Threshold(1, BAD),
                    below=True,
                ),
                stat(
                    "uptime",
                    "Up for",
                    "Since it was started.",
                    SECONDS,
                    f"min(redis_uptime_in_seconds{{{_OF}}})",
                ),
            ),
        ),
        Section(
            "Memory",
            (
                Panel(
                    "memory",
                    "Memory",
                    "What its data takes, what its process has, and its limit.",
                    BYTES,
                    (
                        Query(f"redis_memory_used_bytes{{{_OF}}}", "Data on {{instance}}", BUSY),
                        Query(f"redis_memory_used_rss_bytes{{{_OF}}}", "Process on {{instance}}", APART),
                        Query(f"redis_memory_max_bytes{{{_OF}}} > 0", "Limit on {{instance}}", level=True),
                    ),
                ),
                Panel(
                    "keys",
                    "Keys by database",
                    "0: broker, 1: results, 2: the fleet's state.",
                    COUNT,
                    (Query(f'sum by (db) (redis_db_keys{{{_OF}, db=~"db[0-2]"}})', "{{db}}"),),
                ),
                Panel(
                    "evictions",
                    "Expired and evicted keys",
                    "A second. A broker that evicts loses tasks: there must be none.",
                    RATE,
                    (
                        Query(f"sum({_rate('redis_expired_keys_total')})", "Expired", BUSY),
                        Query(f"sum({_rate('redis_evicted_keys_total')})", "Evicted", BAD),
                    ),
                ),
                Panel(
                    "fragmentation",
                    "Fragmentation",
                    "Memory of the process as a multiple of its data; of little data it says nothing.",
                    COUNT,
                    (Query(f"redis_mem_fragmentation_ratio{{{_OF}}}", "{{instance}}"),),
                ),
            ),
        ),
        Section(
            "Clients and latency",
            (
                Panel(
                    "clients",
                    "Clients",
                    "Connections; blocked ones wait for messages, as idle workers do. Dashed: the limit.",
                    COUNT,
                    (
                        Query(f"sum(redis_connected_clients{{{_OF}}})", "Connected", BUSY),
                        Query(f"sum(redis_blocked_clients{{{_OF}}})", "Blocked", APART),
                        Query(f"max(redis_config_maxclients{{{_OF}}})", "Limit", level=True),
                    ),
                ),
                Panel(
                    "rejected",
                    "Connections",
                    "New ones a second, and those that were refused because there were too many.",
                    RATE,
                    (
                        Query(f"sum({_rate('redis_connections_received_total')})", "New", BUSY),
                        Query(f"sum({_rate('redis_rejected_connections_total')})", "Refused", BAD),
                    ),
                ),
                Panel(
                    "latency",
                    "Time of a command",
                    "Mean, of the eight commands on which it spends most time.",
                    SECONDS,
                    (
                        Query(
                            f"sum by (cmd) ({_rate('redis_commands_duration_seconds_total')}) / "
                            f"(sum by (cmd) ({_rate('redis_commands_total')}) > 0) "
                            f"and on (cmd) {_top('redis_commands_duration_seconds_total')}",
                            "{{cmd}}",
                        ),
                    ),
                ),
                Panel(
                    "commands-by",
                    "Commands",
                    "A second; the eight most frequent.",
                    RATE,
                    (
                        Query(
                            f"sum by (cmd) ({_rate('redis_commands_total')}) and on (cmd) {_top('redis_commands_total')}",
                            "{{cmd}}",
                        ),
                    ),
                ),
                Panel(
                    "slow",
                    "Slow commands",
                    "Entries of its slow log that were added in a minute.",
                    COUNT,
                    (Query(f"sum(delta(redis_slowlog_last_id{{{_OF}}}[5m])) / 5", "A minute", WARN),),
                ),
                Panel(
                    "network",
                    "Network",
                    "Bytes a second.",
                    BYTE_RATE,
                    (
                        Query(f"sum({_rate('redis_net_input_bytes_total')})", "In", BUSY),
                        Query(f"sum({_rate('redis_net_output_bytes_total')})", "Out", APART),
                    ),
                ),
            ),
        ),
        Section(
            "Persistence",
            (
                Panel(
                    "status",
                    "Last writes",
                    "1: well, 0: failed.",
                    COUNT,
                    (
                        Query(f"min(redis_aof_last_write_status{{{_OF}}})", "Append-only file", GOOD),
                        Query(f"min(redis_aof_last_bgrewrite_status{{{_OF}}})", "Its rewrite", BUSY),
                        Query(f"min(redis_rdb_last_bgsave_status{{{_OF}}})", "Snapshot", APART),
                    ),
                    thresholds=(Threshold(1, BAD),),
                    below=True,
                    top=1.0,
                ),
                Panel(
                    "file",
                    "Append-only file",
                    "Its size now, and after its last rewrite.",
                    BYTES,
                    (
                        Query(f"sum(redis_aof_current_size_bytes{{{_OF}}})", "Now", BUSY),
                        Query(f"sum(redis_aof_base_size_bytes{{{_OF}}})", "After the last rewrite", APART),
                    ),
                ),
                Panel(
                    "fork",
                    "Time of the last fork",
                    "It answers nobody meanwhile.",
                    SECONDS,
                    (Query(f"redis_latest_fork_seconds{{{_OF}}}", "{{instance}}"),),
                ),
                Panel(
                    "fsync",
                    "Delayed writes",
                    "Writes to the disk a minute that had to wait for the one before: the disk is slow.",
                    COUNT,
                    (Query(f"60 * sum({_rate('redis_aof_delayed_fsync')})", "A minute", WARN),),
                ),
            ),
        ),
    ),
    (Variable("instance", "Host", "redis_up", "instance"),),
)
