"""The parts that a report is made of, whatever its form."""

from collections.abc import Sequence
from dataclasses import dataclass

from infnet.report.pictures import Picture


@dataclass(frozen=True)
class Fact:
    """A name and its value."""

    name: str
    value: str


@dataclass(frozen=True)
class Figure:
    """A picture and the caption below it."""

    title: str
    picture: Picture
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of texts, the first of each being its heading; the last row sums up the others if it ``has_total``.

    ``groups`` are the headings of groups of columns, and below them those of their columns; a heading without any is
    that of a column.
    """

    title: str
    groups: Sequence[tuple[str, Sequence[str]]]
    rows: Sequence[Sequence[str]]
    note: str
    has_total: bool = True
