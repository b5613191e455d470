"""The customer's bank, as far as an example needs one."""

ANSWERS_AT_ATTEMPT = {"patience": 3, "never": 1_000_000}
"""Titles whose payment takes more than one attempt."""


class BankBusyError(Exception):
    """Ask again later."""


class CardStolenError(Exception):
    """There is no use in asking again."""


def charge(title: str, attempt: int) -> None:
    """Take the money. Raises BankBusyError or CardStolenError."""
    if title == "stolen":
        raise CardStolenError("this card was reported as stolen")
    if attempt < ANSWERS_AT_ATTEMPT.get(title, 1):
        raise BankBusyError(f"busy at attempt {attempt}")
