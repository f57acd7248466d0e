"""Measurements as a table of text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infnet.quantification.measurements import Row


def table_lines(rows: "Sequence[Row]", severity: int | None) -> list[str]:
    """A line a region, and one for the CT severity score where there is one."""
    width = max(len(row["region"]) for row in rows) + 1
    lines = [f"{'':<{width}}{'lung':>9}{'GGO':>20}{'consolidation':>20}{'infection':>20}"]
    for row in rows:
        findings = (
            (row["ggo_ml"], row["ggo_percent"]),
            (row["consolidation_ml"], row["consolidation_percent"]),
            (row["infection_ml"], row["infection_percent"]),
        )
        cells = "".join(f"{ml:>10.1f} mL{_percent(percent):>7}" for ml, percent in findings)
        lines.append(f"{row['region']:<{width}}{row['volume_ml']:>6.0f} mL{cells}")
    if severity is not None:
        lines.append(f"CT severity score: {severity} of 25")
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"
