"""The filter `bcrypt_hash`: what Prometheus and Alertmanager keep of a password."""

from __future__ import annotations

import base64
import hashlib

import bcrypt

ROUNDS = 10


def bcrypt_hash(password: str, name: str) -> str:
    """The same for the same user and password each time, so that a second run changes nothing.

    The salt is made from both; the passwords are long and random, so nobody can try them out.
    """
    digest = hashlib.sha256(f"{name}\0{password}".encode()).digest()[:16]
    # bcrypt has an alphabet of its own; the last of the 22 letters carries two bits.
    letters = base64.b64encode(digest).decode().rstrip("=").replace("+", ".")
    standard = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./"
    own = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    salt = letters.translate(str.maketrans(standard, own))
    return bcrypt.hashpw(password.encode(), f"$2b${ROUNDS:02}${salt}".encode()).decode()


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"bcrypt_hash": bcrypt_hash}
