"""The chart of a study: how much of each region the networks call infected, beside how dense it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infnet.data.findings import CONSOLIDATION, GROUND_GLASS_OPACITY
from infnet.report.numbers import percent
from infnet.report.pictures import HATCHES, Picture, colour, save_figure
from infnet.report.tables import shown

_POORLY_AERATED, _NON_AERATED = "#9ebcda", "#3f5f8f"
_GREY = "#444444"


def chart(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Stacked bars, percent of each region's volume: the findings on the left, dense lung on the right, one scale.

    ``rows`` are those of `infnet.quantification.measurements.Row`; a region without volume has a dash.
    """
    rows = shown(rows)[::-1]  # the first is the lowest
    figure = Figure(figsize=(10, 0.75 + 0.28 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    hatch = HATCHES[CONSOLIDATION]
    _bars(
        left,
        rows,
        "Found by the networks",
        (
            ("ggo_percent", GROUND_GLASS_OPACITY.name, colour(GROUND_GLASS_OPACITY), ""),
            ("consolidation_percent", CONSOLIDATION.name, colour(CONSOLIDATION), hatch),
        ),
    )
    _bars(
        right,
        rows,
        "Dense lung by HU",
        (
            ("poorly_aerated_percent", "Poorly aerated", _POORLY_AERATED, ""),
            ("non_aerated_percent", "Non-aerated", _NON_AERATED, ""),
        ),
    )
    left.set_yticks(range(len(rows)), [row["region"].capitalize() for row in rows])
    left.set_xlim(0, max(5.0, 1.15 * left.get_xlim()[1]))
    total = rows[0]
    return save_figure(
        figure,
        "Bar charts of the tables of findings and of aeration. "
        f"Of the whole lungs {percent(total['infection_percent'])} are infected by the networks' findings, "
        f"{percent(total['poorly_aerated_percent'])} are poorly aerated and "
        f"{percent(total['non_aerated_percent'])} non-aerated by density.",
    )


def _bars(
    axis: Axes, rows: Sequence[Mapping[str, Any]], title: str, parts: Sequence[tuple[str, str, Any, str]]
) -> None:
    places = range(len(rows))
    starts = [0.0] * len(rows)
    for key, label, face, hatch in parts:
        widths = [row[key] or 0.0 for row in rows]
        axis.barh(places, widths, 0.62, starts, label=label, color=face, hatch=hatch, edgecolor="white", linewidth=0)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for place, end, row in zip(places, starts, rows, strict=True):
        text = percent(None if row[parts[0][0]] is None else end)
        axis.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=_GREY)
    axis.set_title(title, fontsize=9, loc="left", color=_GREY)
    axis.set_xlabel("% of the region's volume", fontsize=8, color=_GREY)
    axis.tick_params(labelsize=8, length=0, colors=_GREY)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.spines["left"].set_color("#bbbbbb")
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8, borderpad=0, borderaxespad=0.4
    )
