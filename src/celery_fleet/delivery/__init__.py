"""Delivery that loses nothing: an atomic claim, ownership by lease, restore, parking, durable cancellation."""
