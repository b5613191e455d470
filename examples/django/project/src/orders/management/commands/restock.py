from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orders.tasks import restock


class Command(BaseCommand):
    help = "Order new copies of what somebody ordered. Writes the task's id."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("order", type=int)
        parser.add_argument("seconds", type=float)

    def handle(self, *_: Any, **options: Any) -> None:
        self.stdout.write(restock.delay(options["order"], options["seconds"]).id)
