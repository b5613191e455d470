from typing import ClassVar

from django.db import models


class Order(models.Model):
    """What a customer wants. Tasks move it from one state to the next, each step once."""

    class State(models.TextChoices):
        PLACED = "placed"
        PAID = "paid"
        CANCELLED = "cancelled"

    title = models.CharField(max_length=200)
    copies = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PLACED)
    attempts = models.PositiveIntegerField(default=0)
    """How often the customer's bank was asked."""
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["state", "placed_at"], name="order_state")]

    def __str__(self) -> str:
        return f"{self.copies} x {self.title} ({self.state})"
