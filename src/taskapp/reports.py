"""Reports as PDF files."""

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, FiniteFloat

from taskapp.figures import records_per_day
from taskapp.files import write_atomically
from taskapp.operation import operation
from taskapp.records import Line, record
from taskapp.settings import Name, current
from taskapp.store import current_store

if TYPE_CHECKING:
    from fpdf import FPDF

Row = tuple[Line, FiniteFloat]
"""A label and its value."""


@operation("afirgen_tasks.reports.generate_pdf")
def generate_pdf(
    _self: Any,
    fir_id: Name,
    title: Line | None = None,
    rows: Annotated[list[Row], Field(min_length=1, max_length=40)] | None = None,
) -> dict[str, Any]:
    """Write a report with a table and a chart of `rows`; by default of the week that ended with the record.

    The file's name follows from the content: a report that exists is not made again.
    """
    if rows is None:
        store = current_store()
        rows = records_per_day(store, days=7, until=record(store, fir_id)["at"])
    title = title or f"Report {fir_id}"
    digest = hashlib.sha256(json.dumps([title, rows]).encode()).hexdigest()[:16]
    path = current().state_dir / "reports" / f"{fir_id}-{digest}.pdf"
    made = not path.exists()
    if made:
        write_atomically(path, render(title, rows))
    return {"fir_id": fir_id, "path": str(path), "bytes": path.stat().st_size, "made": made}


def render(title: str, rows: list[Row]) -> bytes:
    """A page (or more) with the title, the table and a bar chart; the same input gives the same bytes."""
    # Imported here: it costs a second and 30 MB, which a worker that makes no reports need not pay.
    from fpdf import FPDF  # noqa: PLC0415

    pdf = FPDF()
    pdf.set_creation_date(datetime(2000, 1, 1, tzinfo=UTC))
    pdf.set_title(title)
    pdf.add_page()
    pdf.set_font("Helvetica", style="B", size=16)
    pdf.multi_cell(0, 10, _latin(title), new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Helvetica", size=10)
    with pdf.table(col_widths=(3, 1), text_align=("LEFT", "RIGHT")) as table:
        for cells in [("Item", "Value"), *((_latin(label), f"{value:g}") for label, value in rows)]:
            table.row(cells)
    pdf.ln(6)
    _chart(pdf, rows)
    return bytes(pdf.output())


def _chart(pdf: "FPDF", rows: list[Row], bar: float = 6) -> None:
    """Horizontal bars, as long as their values are in relation to the largest."""
    longest = max((abs(value) for _, value in rows), default=0) or 1
    label_width, value_width = pdf.epw * 0.3, 20
    pdf.set_fill_color(70, 110, 160)
    for label, value in rows:
        if pdf.will_page_break(bar):
            pdf.add_page()
        top = pdf.get_y()
        pdf.cell(label_width, bar, _latin(label)[:30])
        length = abs(value) / longest * (pdf.epw - label_width - value_width)
        pdf.rect(pdf.get_x(), top + 1, length, bar - 2, style="F")
        pdf.set_x(pdf.get_x() + length)
        pdf.cell(value_width, bar, f"{value:g}", new_x="LMARGIN", new_y="NEXT")


def _latin(text: str) -> str:
    """The text in the character set of the built-in fonts; others become question marks."""
    return text.encode("latin-1", "replace").decode("latin-1")
