from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orders.models import Order
from orders.tasks import collect_payment


class Command(BaseCommand):
    help = "Place an order and have it paid for in the background. Writes the order's and the task's id."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("title")
        parser.add_argument("--copies", type=int, default=1)

    def handle(self, *_: Any, **options: Any) -> None:
        order = Order.objects.create(title=options["title"], copies=options["copies"])
        self.stdout.write(f"{order.pk} {collect_payment.delay(order.pk).id}")
