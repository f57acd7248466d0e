"""The figures of a patient's studies over dates, as a picture. Needs matplotlib."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from infnet.data.files import written_whole
from infnet.quantification.study import Study

PANELS = (
    ("volume_ml", "lung volume, mL"),
    ("ggo_ml", "ground glass, mL"),
    ("consolidation_ml", "consolidation, mL"),
    ("infection_ml", "infection, mL"),
    ("volume_mean_hu", "mean density, HU"),
    ("ggo_percent", "ground glass, %"),
    ("consolidation_percent", "consolidation, %"),
    ("infection_percent", "infection, %"),
    ("hyperinflated_percent", "hyperinflated, %"),
    ("well_aerated_percent", "well aerated, %"),
    ("poorly_aerated_percent", "poorly aerated, %"),
    ("non_aerated_percent", "not aerated, %"),
)


def plot_changes(studies: Sequence[Study]) -> Figure:
    """A panel for each of `PANELS`, a line a region; over dates, or study by study where a date is not known."""
    dates = [study.date for study in studies]
    dated = None not in dates and len(set(dates)) == len(dates)
    positions = [date.fromisoformat(day) for day in dates if day] if dated else list(range(len(studies)))
    regions = list(dict.fromkeys(row["region"] for study in studies for row in study.table))
    figure = Figure(figsize=(16, 9), layout="constrained")
    axes = figure.subplots(3, 4, sharex=True).ravel()
    for axis, (key, title) in zip(axes, PANELS, strict=True):
        for region in regions:
            rows = [next((row for row in study.table if row["region"] == region), None) for study in studies]
            values = [row[key] if row and row[key] is not None else float("nan") for row in rows]  # type: ignore[literal-required]
            width = 2.5 if region == "total" else 1.2
            axis.plot(positions, values, marker="o", markersize=3, linewidth=width, label=region)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[-4:]:
        if dated:
            locator = AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call]
            axis.xaxis.set_major_locator(locator)
            axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        else:
            axis.set_xticks(positions, [study.case for study in studies], rotation=30, ha="right", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    figure.suptitle("Change over time. For research; not for clinical decisions.", fontsize=11)
    return figure


def write_plot(figure: Figure, path: Path) -> None:
    """Write the picture as SVG or PNG, by the ending. Raises `OutputError`."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)
