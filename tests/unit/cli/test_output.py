"""Tables fit the terminal, are plain elsewhere, and colour only where there is a terminal."""

import pytest

from celery_fleet.cli.output import BAD, Cell, Screen, age, fitted, table

PIPE = Screen(width=None, colours=False)
ROWS = [
    [
        "7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55",
        3,
        Cell("dead", BAD),
        "a rather long text that says a lot of things",
    ],
    ["b", 1204, Cell("alive"), None],
]
HEADINGS = ["ID", "N", "STATE", "TEXT"]


def test_a_piped_table_is_whole_and_plain() -> None:
    lines = table(HEADINGS, ROWS, PIPE)
    assert lines == [
        "ID                                       N  STATE  TEXT",
        "7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55     3  dead   a rather long text that says a lot of things",
        "b                                     1204  alive  -",
    ]


@pytest.mark.parametrize("width", [60, 70, 80, 200])
def test_a_table_on_a_terminal_is_no_wider(width: int) -> None:
    lines = table(HEADINGS, ROWS, Screen(width, False), whole=["ID"])
    assert max(map(len, lines)) <= width
    assert ROWS[0][0] in lines[1]


def test_the_widest_column_is_shortened_first() -> None:
    assert fitted([36, 4, 5, 44], 70, [False] * 4) == [31, 4, 5, 30]
    assert fitted([36, 4, 5, 44], 70, [True, False, False, False]) == [36, 4, 5, 25]


def test_no_column_vanishes_however_narrow_the_terminal() -> None:
    assert fitted([36, 4, 44], 10, [True, False, False]) == [36, 4, 8]


def test_a_narrow_terminal_goes_without_what_matters_least() -> None:
    def headings(width: int | None) -> list[str]:
        return table(HEADINGS, ROWS, Screen(width, False), whole=["ID"], optional=["N", "STATE"])[0].split()

    assert headings(None) == headings(80) == ["ID", "N", "STATE", "TEXT"]
    assert headings(66) == ["ID", "STATE", "TEXT"]
    assert headings(58) == ["ID", "TEXT"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    lines = table(["TEXT"], [["a\x1b[31mb\x07\nc"]], PIPE)
    assert lines[1] == r"a\x1b[31mb\x07 c"


def test_what_is_cut_off_is_marked() -> None:
    assert table(["TEXT"], [["abcdefghijkl"]], Screen(8, False)) == ["TEXT", "abcdefg…"]


def test_colours_are_for_terminals() -> None:
    coloured = table(HEADINGS, ROWS, Screen(200, True))
    assert "\x1b[31mdead" in coloured[1]
    assert not any("\x1b" in line for line in table(HEADINGS, ROWS, Screen(200, False)))


class Terminal:
    def isatty(self) -> bool:
        return True


def test_no_colour_where_NO_COLOR_is_set(monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: N802
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "132")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen.now() == Screen(132, True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen.now() == Screen(132, False)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (90000, "1d01h"),
    ],
)
def test_ages(seconds: float | None, text: str) -> None:
    assert age(seconds) == text
