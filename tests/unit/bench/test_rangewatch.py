"""What the benchmark of the console takes for a read without a bound."""

import pytest

from bench.rangewatch import Reading, reading


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("GET a", None),
        ("HGETALL a", Reading("HLEN", "a", None)),
        ("SMEMBERS a", Reading("SCARD", "a", None)),
        ("LRANGE a 0 -1", Reading("LLEN", "a", None)),
        ("LRANGE a 0 9", Reading("LLEN", "a", 10)),
        ("lrange a -50 -1", Reading("LLEN", "a", 50)),
        ("ZRANGE a 5 4", Reading("ZCARD", "a", 0)),
        ("ZRANGE a -inf 10 BYSCORE LIMIT 0 200", Reading("ZCARD", "a", 200)),
        ("ZREVRANGEBYSCORE a +inf -inf WITHSCORES LIMIT 0 50", Reading("ZCARD", "a", 50)),
        ("ZREVRANGEBYSCORE a +inf 7", Reading("ZCARD", "a", None, ("7", "+inf"))),
        ("ZRANGEBYSCORE a 7 +inf LIMIT 0 -1", Reading("ZCARD", "a", None)),
        ("XREVRANGE a + - COUNT 50", Reading("XLEN", "a", 50)),
        ("XRANGE a - +", Reading("XLEN", "a", None)),
    ],
)
def test_reading(command: str, expected: Reading | None) -> None:
    assert reading(command.split()) == expected
