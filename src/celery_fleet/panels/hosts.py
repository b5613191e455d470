"""The dashboard `hosts`: CPU, memory, disk, network, units, certificates; and what watching costs."""

from .model import (
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

_ANY = 'instance=~"$instance"'
_OF = f'job="node", {_ANY}'  # tasks of the app may watch the same exporter, by another job
_DISKS = f'{_OF}, fstype!~"tmpfs|ramfs|devtmpfs|overlay|squashfs|nsfs|iso9660"'
_LINKS = f'{_OF}, device!~"lo|veth.*|docker.*|br-.*"'
_BLOCK = f'{_OF}, device!~"(loop|ram|sr|dm-).*"'

HOSTS = Dashboard(
    "hosts",
    "Hosts",
    "The machines below, and the exporters on them.",
    (
        Section(
            "CPU and memory",
            (
                Panel(
                    "cpu",
                    "CPU used",
                    "Of all CPUs of the host.",
                    SHARE,
                    (
                        Query(
                            f'1 - avg by (instance) (rate(node_cpu_seconds_total{{{_OF}, mode="idle"}}[$__rate_interval]))',
                            "{{instance}}",
                        ),
                    ),
                    thresholds=(Threshold(0.9, WARN),),
                    top=1.0,
                ),
                Panel(
                    "load",
                    "Load for each CPU",
                    "Processes that run or want to, divided by the CPUs.",
                    COUNT,
                    (
                        Query(
                            f"node_load5{{{_OF}}} / on (instance) count by (instance) "
                            f'(node_cpu_seconds_total{{{_OF}, mode="idle"}})',
                            "{{instance}}",
                        ),
                    ),
                    thresholds=(Threshold(2, WARN),),
                ),
                Panel(
                    "memory",
                    "Memory used",
                    "What cannot be given to others.",
                    SHARE,
                    (
                        Query(
                            f"1 - node_memory_MemAvailable_bytes{{{_OF}}} / node_memory_MemTotal_bytes{{{_OF}}}",
                            "{{instance}}",
                        ),
                    ),
                    thresholds=(Threshold(0.85, WARN), Threshold(0.95, BAD)),
                    top=1.0,
                ),
                Panel(
                    "oom",
                    "Killed for lack of memory",
                    "Processes that the kernel killed in the last hour.",
                    COUNT,
                    (Query(f"increase(node_vmstat_oom_kill{{{_OF}}}[1h])", "{{instance}}"),),
                    thresholds=(Threshold(1, BAD),),
                ),
            ),
        ),
        Section(
            "Disk and network",
            (
                Panel(
                    "disk",
                    "Disk used",
                    "By device.",
                    SHARE,
                    (
                        Query(
                            f"1 - min by (instance, device) (node_filesystem_avail_bytes{{{_DISKS}}} / "
                            f"node_filesystem_size_bytes{{{_DISKS}}})",
                            "{{instance}} {{device}}",
                        ),
                    ),
                    thresholds=(Threshold(0.8, WARN), Threshold(0.9, BAD)),
                    top=1.0,
                ),
                Panel(
                    "inodes",
                    "Inodes used",
                    "A disk with room and without inodes is full, too.",
                    SHARE,
                    (
                        Query(
                            f"1 - min by (instance, device) (node_filesystem_files_free{{{_DISKS}}} / "
                            f"(node_filesystem_files{{{_DISKS}}} > 0))",
                            "{{instance}} {{device}}",
                        ),
                    ),
                    thresholds=(Threshold(0.8, WARN), Threshold(0.9, BAD)),
                    top=1.0,
                ),
                Panel(
                    "io",
                    "Disk busy",
                    "Part of the time in which it had something to do.",
                    SHARE,
                    (
                        Query(
                            f"max by (instance, device) (rate(node_disk_io_time_seconds_total{{{_BLOCK}}}[$__rate_interval]))",
                            "{{instance}} {{device}}",
                        ),
                    ),
                    top=1.0,
                ),
                Panel(
                    "network",
                    "Network",
                    "Bytes a second, in and out, of all links.",
                    BYTE_RATE,
                    (
                        Query(
                            f"sum by (instance) (rate(node_network_receive_bytes_total{{{_LINKS}}}[$__rate_interval]))",
                            "{{instance}} in",
                        ),
                        Query(
                            f"sum by (instance) (rate(node_network_transmit_bytes_total{{{_LINKS}}}[$__rate_interval]))",
                            "{{instance}} out",
                        ),
                    ),
                ),
            ),
        ),
        Section(
            "Reachable",
            (
                Panel(
                    "ping",
                    "Answers a ping",
                    "1: yes.",
                    COUNT,
                    (Query(f'min by (instance) (probe_success{{job="ping", {_ANY}}})', "{{instance}}"),),
                    thresholds=(Threshold(1, BAD),),
                    below=True,
                    top=1.0,
                ),
                Panel(
                    "targets",
                    "Exporters that do not answer",
                    "By job and host.",
                    COUNT,
                    (Query(f'up{{{_ANY}, job!="app"}} == 0', "{{job}} on {{instance}}", BAD),),
                    empty_when_healthy="an exporter that is stopped, or a host that is away",
                ),
                Panel(
                    "units",
                    "Units that have failed",
                    "Services of the fleet that systemd gave up.",
                    COUNT,
                    (
                        Query(
                            f'node_systemd_unit_state{{{_OF}, state="failed"}} == 1',
                            "{{name}} on {{instance}}",
                            BAD,
                        ),
                    ),
                    empty_when_healthy="a service that fails and does not start again",
                ),
                Panel(
                    "certificates",
                    "Certificates end in",
                    "Of the files that hosts have.",
                    SECONDS,
                    (
                        Query(
                            f"fleet_certificate_expiry_timestamp_seconds{{{_OF}}} - time()",
                            "{{path}} on {{instance}}",
                        ),
                    ),
                    thresholds=(Threshold(14 * 86400, WARN), Threshold(3 * 86400, BAD)),
                    below=True,
                    spread=True,
                    empty_when_healthy="a fleet with a certificate (edge_certificate); without one there is nothing to end",
                ),
            ),
        ),
        Section(
            "What watching costs",
            (
                Panel(
                    "exporter-memory",
                    "Memory of exporters and servers",
                    "Resident, by job; the largest of each.",
                    BYTES,
                    (Query("max by (job) (process_resident_memory_bytes)", "{{job}}"),),
                ),
                Panel(
                    "exporter-cpu",
                    "CPUs used by exporters and servers",
                    "How many CPUs they keep busy together, by job.",
                    COUNT,
                    (
                        Query(
                            "sum by (job) (rate(process_cpu_seconds_total[$__rate_interval]))",
                            "{{job}}",
                        ),
                    ),
                ),
                Panel(
                    "series",
                    "Series in Prometheus",
                    "In its memory.",
                    COUNT,
                    (Query("sum(prometheus_tsdb_head_series)", "Series", BUSY),),
                ),
                Panel(
                    "storage",
                    "Disk of Prometheus",
                    "Blocks of old samples; the oldest go when there is no more room for them.",
                    BYTES,
                    (Query("sum(prometheus_tsdb_storage_blocks_bytes)", "Blocks", BUSY),),
                ),
                Panel(
                    "samples",
                    "Samples taken in",
                    "A second.",
                    RATE,
                    (
                        Query(
                            "sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))",
                            "Samples",
                            GOOD,
                        ),
                    ),
                ),
                Panel(
                    "notifications",
                    "Notifications of Alertmanager",
                    "A second; failed ones reach nobody.",
                    RATE,
                    (
                        Query("sum(rate(alertmanager_notifications_total[$__rate_interval]))", "Sent", BUSY),
                        Query(
                            "sum(rate(alertmanager_notifications_failed_total[$__rate_interval]))",
                            "Failed",
                            BAD,
                        ),
                    ),
                ),
            ),
        ),
    ),
    (Variable("instance", "Host", 'node_uname_info{job="node"}', "instance"),),
)
