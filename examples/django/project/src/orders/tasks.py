"""What the shop does in the background. Every task may run twice without harm."""

import time
from datetime import timedelta
from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from django.db.models import F
from django.utils import timezone

from orders import bank
from orders.models import Order

logger = get_task_logger(__name__)


@shared_task
def ping() -> int:
    """Whether the database answers: how many orders there are."""
    return Order.objects.count()


@shared_task(bind=True, max_retries=3)
def collect_payment(self: Any, order_id: int) -> str:
    """Take the money for an order. A busy bank is asked again after a second, three times."""
    Order.objects.filter(pk=order_id, state=Order.State.PLACED).update(attempts=F("attempts") + 1)
    order = Order.objects.get(pk=order_id)
    if order.state != Order.State.PLACED:
        return order.state
    try:
        bank.charge(order.title, order.attempts)
    except bank.BankBusyError as busy:
        logger.warning("The bank is busy: order %s", order_id)
        raise self.retry(exc=busy, countdown=1) from busy
    Order.objects.filter(pk=order_id, state=Order.State.PLACED).update(state=Order.State.PAID)
    logger.info("Order %s is paid", order_id)
    return Order.State.PAID


@shared_task
def restock(order_id: int, seconds: float) -> int:
    """Something that takes long: order new copies at the publisher. Counts its runs in the order's attempts."""
    Order.objects.filter(pk=order_id).update(attempts=F("attempts") + 1)
    time.sleep(seconds)
    return Order.objects.get(pk=order_id).attempts


@shared_task
def slow_report(seconds: float) -> str:
    """A report that is content with what it has when its time is up."""
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "partial"
    return "whole"


@shared_task
def cancel_stale(days: int) -> int:
    """Cancel orders that nobody paid for; how many."""
    before = timezone.now() - timedelta(days=days)
    return Order.objects.filter(state=Order.State.PLACED, placed_at__lt=before).update(
        state=Order.State.CANCELLED
    )
