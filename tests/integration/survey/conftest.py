"""Connections by the atomic transport, as the tests of delivery have them."""

from integration.delivery.conftest import client, connect

__all__ = ["client", "connect"]
