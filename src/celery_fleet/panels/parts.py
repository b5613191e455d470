"""Expressions that several panels share, and short ways to make panels."""

from .model import STAT, Panel, Query, Threshold

QUANTILES = ((0.5, "half"), (0.95, "95 of 100"), (0.99, "99 of 100"))

MISSING = "celery_worker_expected unless on (worker) celery_worker_up == 1 unless on (worker) celery_worker_draining == 1"
"""Workers of the inventory that give no sign of life, but for those that an operator drained."""


def quantile(share: float, metric: str, matchers: str = "", by: str = "") -> str:
    """Seconds within which that share of the tasks of the last minutes was done."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{matchers}}}[$__rate_interval])))"


def quantiles(metric: str, word: str, matchers: str = "") -> tuple[Query, ...]:
    tones = ("busy", "apart", "warn")
    return tuple(
        Query(quantile(share, metric, matchers), f"{word}, {name}", tone)
        for (share, name), tone in zip(QUANTILES, tones, strict=True)
    )


def ended(how: str, matchers: str = "", by: str = "", window: str = "$__rate_interval") -> str:
    """Tasks a second, with a 0 where there were none.

    `how`: started, succeeded, failed, retried or revoked. Of sums that the rules keep: they have a 0 for every queue from the
    beginning, so that the first failure of a kind is counted, too.
    """
    together = f"sum by ({by})" if by else "sum"
    return f"{together} (rate(queue:celery_task_{how}:sum{{{matchers}}}[{window}]))"


def failed_share(matchers: str = "", by: str = "", window: str = "$__rate_interval") -> str:
    """Of all that ended, well or badly; of a queue that ends nothing there is none."""
    failed, succeeded = (ended(how, matchers, by, window) for how in ("failed", "succeeded"))
    return f"{failed} / ({failed} + {succeeded} > 0)"


def burn(indicator: str, window: str, matchers: str) -> str:
    """How quickly a queue spends its error budget; 1: it would be spent when the time that it is for is over."""
    objective = f'celery_queue_slo_objective_ratio{{indicator="{indicator}", {matchers}}}'
    return (
        f"max by (queue_name) (queue:celery_{indicator}_bad:ratio{window}{{{matchers}}}) / on (queue_name) "
        f"(1 - max by (queue_name) ({objective}))"
    )


def in_time(metric: str, indicator: str, window: str = "$__range", queue: str = "$queue") -> str:
    """The share of each queue's tasks that met its target, which has to be a bound of the histogram's buckets.

    The target's value becomes a label by count_values, so that it selects its bucket.
    """
    of_queue = f'queue_name=~"{queue}"'
    buckets = f"sum by (queue_name, le) (increase({metric}_bucket{{{of_queue}}}[{window}]))"
    plain = f'label_replace({buckets}, "le", "$1", "le", "(.+)[.]0")'
    target = f'count_values by (queue_name) ("le", celery_queue_slo_target_seconds{{indicator="{indicator}", {of_queue}}})'
    every = f"sum by (queue_name) (increase({metric}_count{{{of_queue}}}[{window}]))"
    return f"sum by (queue_name) ({plain} * on (queue_name, le) {target}) / ({every} > 0)"


def stat(
    panel_id: str,
    title: str,
    description: str,
    unit: str,
    expr: str,
    *thresholds: Threshold,
    width: int = 4,
    below: bool = False,
    empty: str = "",
) -> Panel:
    """One number."""
    return Panel(
        panel_id,
        title,
        description,
        unit,
        (Query(expr, title),),
        STAT,
        thresholds,
        below=below,
        empty_when_healthy=empty,
        width=width,
    )
