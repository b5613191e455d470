"""Queues, routes, pools and the plan of a host: data and pure functions, no third-party imports.

The inventory is checked and planned with it before a run, and the workers read the resulting topology file.
"""

from .capacity import auto_child_memory, auto_concurrency, auto_reserve
from .document import topology_document
from .host_queues import HostQueues, with_host_queues
from .load import load_topology, read_document
from .model import BeatEntry, QueueSettings, RetryPolicy, Route, TaskSettings, Topology
from .plan import DoesNotFit, HostPlan, PoolPlan, plan_host
from .problem import InvalidTopology, Problem
from .tracing import Traces, traces
from .units import human_duration, human_size, parse_duration, parse_size
from .validate import validate_fleet
from .variables import DEFAULTS, POOL_DEFAULTS, QUEUE_DEFAULTS, RETRY_DEFAULTS

__all__ = [
    "DEFAULTS",
    "POOL_DEFAULTS",
    "QUEUE_DEFAULTS",
    "RETRY_DEFAULTS",
    "BeatEntry",
    "DoesNotFit",
    "HostPlan",
    "HostQueues",
    "InvalidTopology",
    "PoolPlan",
    "Problem",
    "QueueSettings",
    "RetryPolicy",
    "Route",
    "TaskSettings",
    "Topology",
    "Traces",
    "auto_child_memory",
    "auto_concurrency",
    "auto_reserve",
    "human_duration",
    "human_size",
    "load_topology",
    "parse_duration",
    "parse_size",
    "plan_host",
    "read_document",
    "topology_document",
    "traces",
    "validate_fleet",
    "with_host_queues",
]
