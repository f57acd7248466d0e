"""A report as A4 pages in PDF, with the content of the HTML page: searchable text, described pictures, bookmarks."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from fpdf import FPDF, FontFace
from fpdf.enums import TableBordersLayout
from PIL import Image

from infnet.report.content import NOTICE, Report
from infnet.report.layout import Fact, Figure, Table

_FONT = "DejaVu"
_TEXT_PT, _TABLE_PT, _SMALL_PT, _HEADING_PT, _TITLE_PT = 9, 8, 7.5, 11, 16
_INK, _QUIET, _LINE, _SHADE = (29, 39, 51), (85, 96, 110), (213, 218, 224), (244, 246, 248)
_NOTICE_INK, _WARNING_BAR, _WARNING_SHADE = (156, 42, 28), (199, 119, 0), (255, 246, 229)
_MARGIN, _GAP, _LINE_HEIGHT, _ROW_HEIGHT, _PADDING = 14, 5, 4.6, 5.4, 0.8  # mm
_WIDEST_COLUMN = 40  # mm
_SMALLEST_PICTURE = 0.8  # of the page's width


def render_pdf(report: Report) -> bytes:
    """The file's content."""
    pdf = _Pages(format="A4")
    pdf.set_title(f"{report.case}: lung infection on chest CT")
    pdf.set_creator(f"InfNet {report.version}")
    pdf.set_lang("en")
    for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
        pdf.add_font(_FONT, style, Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file)
    pdf.set_margin(_MARGIN)
    pdf.c_margin = 0  # so that texts, lines and pictures begin at one edge
    pdf.set_auto_page_break(True, _MARGIN + 4)
    pdf.add_page()
    pdf.paragraph("Lung infection on chest CT", _TITLE_PT, "B")
    pdf.paragraph(NOTICE, 10, "B", _NOTICE_INK)
    pdf.ln(2)
    pdf.facts(report.header, name_width=36)
    if report.warnings:
        pdf.warnings(report.warnings)
    pdf.summary(report.summary)
    pdf.measurements(report.findings)
    pdf.figure(report.chart)
    pdf.figure(report.slices)
    pdf.figure(report.solid)
    pdf.measurements(report.density)
    if report.change is not None:
        pdf.measurements(report.change.table)
        pdf.figure(report.change.figure)
    pdf.heading("What was not validated", room=20)
    for limit in report.limits:
        pdf.item(limit)
    pdf.heading("How it was made", room=20)
    pdf.facts(report.provenance, name_width=60, size=8)
    return bytes(pdf.output())


class _Pages(FPDF):
    """Pages with the notice at their foot, and the building blocks of a report."""

    def footer(self) -> None:
        self.set_y(-12)
        self._font(_SMALL_PT, colour=_QUIET)
        self.cell(self.epw / 2, 5, NOTICE)
        self.cell(self.epw / 2, 5, f"{self.page_no()} / {{nb}}", align="R")

    def _font(self, size: float, style: str = "", colour: tuple[int, int, int] = _INK) -> None:
        self.set_font(_FONT, style, size)
        self.set_text_color(*colour)

    def paragraph(self, text: str, size: float, style: str = "", colour: tuple[int, int, int] = _INK) -> None:
        self._font(size, style, colour)
        self.multi_cell(0, size * 0.52, text, align="L", new_x="LMARGIN", new_y="NEXT")

    def heading(self, title: str, room: float) -> None:
        """A heading on the page where ``room`` mm below it are free."""
        self.ln(_GAP)
        if self.will_page_break(min(room + 8, self.eph - 1)):
            self.add_page()
        self.start_section(title)
        self.paragraph(title, _HEADING_PT, "B")
        self.set_draw_color(*_LINE)
        self.line(self.l_margin, self.get_y() + 0.8, self.l_margin + self.epw, self.get_y() + 0.8)
        self.ln(2.4)

    def facts(self, facts: Sequence[Fact], name_width: float, size: float = _TEXT_PT) -> None:
        value_width = self.epw - name_width
        for fact in facts:
            if self.will_page_break(3 * _LINE_HEIGHT):
                self.add_page()
            self._font(size, colour=_QUIET)
            self.cell(name_width, _LINE_HEIGHT, fact.name)
            self._font(size)
            self.multi_cell(value_width, _LINE_HEIGHT, fact.value, align="L", new_x="LMARGIN", new_y="NEXT")

    def item(self, text: str) -> None:
        self._font(_TEXT_PT)
        self.cell(4, _LINE_HEIGHT, "\N{BULLET}")
        self.multi_cell(self.epw - 4, _LINE_HEIGHT, text, align="L", new_x="LMARGIN", new_y="NEXT")

    def warnings(self, warnings: Sequence[str]) -> None:
        """A shaded table of one column: it goes on over pages, as a box drawn behind would not."""
        self.ln(3)
        self._font(_TEXT_PT)
        self.set_draw_color(*_WARNING_BAR)
        with self.table(
            borders_layout=TableBordersLayout.NONE,
            first_row_as_headings=True,
            headings_style=FontFace(emphasis="BOLD", color=_INK, fill_color=_WARNING_SHADE),
            cell_fill_color=_WARNING_SHADE,
            cell_fill_mode="ALL",
            line_height=_LINE_HEIGHT,
            padding=(0.8, 3),
            text_align="LEFT",
        ) as table:
            for text in ("Warnings", *warnings):
                table.row([text])

    def summary(self, facts: Sequence[Fact]) -> None:
        """The figures that matter most, side by side."""
        self.ln(4)
        if self.will_page_break(20):
            self.add_page()
        gap = 3.0
        width = (self.epw - gap * (len(facts) - 1)) / len(facts)
        top = self.get_y()
        self.set_draw_color(*_LINE)
        self.set_fill_color(*_SHADE)
        for i, fact in enumerate(facts):
            left = self.l_margin + i * (width + gap)
            self.rect(left, top, width, 14, style="DF", round_corners=True, corner_radius=1.2)
            self.set_xy(left + 2, top + 1.8)
            self._font(_SMALL_PT, colour=_QUIET)
            self.cell(width - 4, 4, fact.name)
            self.set_xy(left + 2, top + 6.6)
            self._font(10, "B")
            self.cell(width - 4, 5, fact.value)
        self.set_xy(self.l_margin, top + 14)

    def figure(self, figure: Figure) -> None:
        """The picture as wide as the page, or a little smaller where it then fits below what is there."""
        with Image.open(io.BytesIO(figure.picture.data)) as image:
            height = self.epw * image.height / image.width
        around = 26  # mm of heading and caption
        left = self.page_break_trigger - self.get_y() - around
        room = left if left >= _SMALLEST_PICTURE * height else self.eph - around
        scale = min(1.0, room / height)
        self.heading(figure.title, room=scale * height + 12)
        self.image(
            io.BytesIO(figure.picture.data),
            x=self.l_margin + self.epw * (1 - scale) / 2,
            w=self.epw * scale,
            alt_text=figure.picture.description,
        )
        self.ln(1.5)
        self.paragraph(figure.caption, _SMALL_PT, colour=_QUIET)

    def measurements(self, table: Table) -> None:
        self.heading(table.title, room=_ROW_HEIGHT * (len(table.rows) + 2) + 14)
        widths = self._column_widths(table)
        self._font(_TABLE_PT)
        self.set_draw_color(*_LINE)
        self.set_fill_color(255)
        with self.table(
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            col_widths=widths,
            num_heading_rows=2,
            headings_style=FontFace(emphasis="BOLD", color=_QUIET, fill_color=255),
            cell_fill_color=_SHADE,
            cell_fill_mode="ROWS",
            line_height=_ROW_HEIGHT - 2 * _PADDING,
            padding=_PADDING,
            text_align=("LEFT", *["RIGHT"] * (len(widths) - 1)),
        ) as sheet:
            above, below = sheet.row(), sheet.row()
            for heading, columns in table.groups:
                if columns:
                    above.cell(heading, colspan=len(columns), align="RIGHT" if len(columns) == 1 else "CENTER")
                else:
                    above.cell(heading, rowspan=2, align="LEFT" if heading == table.groups[0][0] else "RIGHT")
                for column in columns:
                    below.cell(column, align="RIGHT")
            for row in table.rows:
                style = FontFace(emphasis="BOLD") if table.has_total and row is table.rows[-1] else None
                sheet.row(row, style=style)
        self.ln(1.5)
        self.paragraph(table.note, _SMALL_PT, colour=_QUIET)

    def _column_widths(self, table: Table) -> list[float]:
        """As wide as the longest cell, or word of a heading, and the rest of the page shared out evenly."""
        self._font(_TABLE_PT, "B")
        headings = [column for heading, columns in table.groups for column in (columns or (heading,))]
        words = [max(map(self.get_string_width, heading.split())) for heading in headings]
        cells = [max(map(self.get_string_width, column)) for column in zip(*table.rows, strict=True)]
        widths = [min(max(pair), _WIDEST_COLUMN) for pair in zip(words, cells, strict=True)]
        spare = (self.epw - sum(widths)) / len(widths)
        return [width + spare for width in widths]
