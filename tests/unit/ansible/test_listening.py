"""Where services listen, and where others find them: the examples beside the functions."""

import doctest

from unit.ansible.plugins import load


def test_the_examples() -> None:
    ran = doctest.testmod(load("listening", "plugin_utils"))
    assert ran.attempted >= 4
    assert ran.failed == 0
