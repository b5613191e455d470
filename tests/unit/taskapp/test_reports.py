import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskapp import reports
from taskapp.analytics import update_dashboard
from taskapp.mail import send_confirmation
from taskapp.reports import generate_pdf, render


def test_a_report_is_a_pdf_that_is_made_once(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = generate_pdf("FIR-1", rows=[["filed", 3], ["closed", 2]])["result"]
    path = Path(first["path"])
    assert path.parent == state_dir / "reports"
    assert path.read_bytes().startswith(b"%PDF-")
    assert path.read_bytes().rstrip().endswith(b"%%EOF")
    monkeypatch.setattr(reports, "render", lambda *_: pytest.fail("made again"))
    again = generate_pdf("FIR-1", rows=[["filed", 3], ["closed", 2]])["result"]
    assert (again["path"], first["made"], again["made"]) == (first["path"], True, False)


def test_other_content_is_another_file() -> None:
    paths = {
        generate_pdf("FIR-1", **kwargs)["result"]["path"]
        for kwargs in [{"rows": [["a", 1]]}, {"rows": [["a", 2]]}, {"rows": [["a", 1]], "title": "T"}]
    }
    assert len(paths) == 3


def test_by_default_a_report_shows_the_week_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    assert generate_pdf("FIR-1")["message"] == "there is no record FIR-1"
    send_confirmation("FIR-1", "jane@example.org")
    shown = []
    monkeypatch.setattr(reports, "render", lambda _, rows: shown.extend(rows) or b"%PDF-")
    assert generate_pdf("FIR-1")["status"] == "success"
    assert [value for _, value in shown] == [0, 0, 0, 0, 0, 0, 1]


def test_the_same_input_gives_the_same_bytes() -> None:
    first = render("T", [("a", 1.0)])
    assert first == render("T", [("a", 1.0)])
    # Nor does the time of its making go into it.
    assert b"/CreationDate (D:2000" in first


def test_a_long_report_has_several_pages() -> None:
    one, many = (render("T", [(f"row {n}", float(n)) for n in range(size)]) for size in (2, 40))
    assert one.count(b"/Type /Page\n") == 1
    assert many.count(b"/Type /Page\n") > 1


@settings(max_examples=25, deadline=None)
@given(
    title=st.text(min_size=1, max_size=60),
    rows=st.lists(
        st.tuples(st.text(min_size=1, max_size=60), st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
        max_size=4,
    ),
)
def test_any_text_and_number_can_be_shown(title: str, rows: list[tuple[str, float]]) -> None:
    assert render(title, rows).startswith(b"%PDF-")


@pytest.mark.parametrize("rows", [[], [["a"]], [["a", "x"]], [["a", 1]] * 41, [["a", float("inf")]]])
def test_bad_rows_are_refused(rows: list[object], state_dir: Path) -> None:
    assert generate_pdf("FIR-1", rows=rows)["status"] == "error"
    assert not (state_dir / "reports").exists()


def test_the_dashboard_is_a_file_of_figures(state_dir: Path) -> None:
    send_confirmation("FIR-1", "jane@example.org")
    result = update_dashboard(hours=2)["result"]
    written = json.loads((state_dir / "dashboard.json").read_text())
    assert result == {"path": str(state_dir / "dashboard.json"), **written}
    assert (written["records"], written["deliveries"], written["hours"]) == (1, {"mail": 1}, 2)
