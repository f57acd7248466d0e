"""The figures of a patient's studies over dates, as a picture. Needs matplotlib."""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from infnet.data.files import written_whole
from infnet.quantification.study import Study

PANELS = (
    ("ggo_percent", "Ground glass, %"),
    ("consolidation_percent", "Consolidation, %"),
    ("infection_percent", "Infection, %"),
    ("volume_ml", "Lung volume, mL"),
    ("volume_mean_hu", "Mean density, HU"),
    ("non_aerated_percent", "Non-aerated, %"),
)


def plot_changes(studies: Sequence[Study]) -> Figure:
    """A panel for each of `PANELS`, a line a region; over dates, or study by study where a date is not known. The
    dates are those of the scans where there is room for them.

    A region that has no volume in any study is left out. Lines of one lung have one dash, to be told apart without
    colours.
    """
    dates = [study.date for study in studies]
    dated = None not in dates and len(set(dates)) == len(dates)
    positions = [date.fromisoformat(day) for day in dates if day] if dated else list(range(len(studies)))
    regions = list(dict.fromkeys(row["region"] for study in studies for row in study.table if row["volume_ml"]))
    figure = Figure(figsize=(10, 6.5), layout="constrained")  # of a page's width, 8 points stay 6
    axes = figure.subplots(2, 3, sharex=True).ravel()
    for axis, (key, title) in zip(axes, PANELS, strict=True):
        for region in regions:
            rows = [next((row for row in study.table if row["region"] == region), None) for study in studies]
            values = [row[key] if row and row[key] is not None else float("nan") for row in rows]  # type: ignore[literal-required]
            style = {"color": "black", "linewidth": 2.4} if region == "total" else {"linewidth": 1.3}
            dash = "--" if region.startswith("left") else "-"
            axis.plot(positions, values, dash, marker="o", markersize=3.5, label=region, **style)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[-3:]:
        if dated and not _has_room(positions):
            locator = AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call]
            axis.xaxis.set_major_locator(locator)
            axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        else:
            names = [study.date if dated else study.case for study in studies]
            axis.set_xticks(positions, names, rotation=30, ha="right", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    figure.suptitle("Change over time. For research; not for clinical decisions.", fontsize=11)
    return figure


def _has_room(dates: Sequence[Any]) -> bool:
    """Whether the axis has room for each date: none lie closer together than an eighth of the whole time."""
    days = sorted(dates)
    return bool(min(later - earlier for earlier, later in pairwise(days)) >= (days[-1] - days[0]) / 8)


def write_plot(figure: Figure, path: Path) -> None:
    """Write the picture as SVG or PNG, by the ending. Raises `OutputError`."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150)
