"""The two tables of a report: findings, and densities, a region a row."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from infnet.quantification.measurements import (
    HYPERINFLATED_BELOW_HU,
    OUTSIDE,
    POORLY_AERATED_BELOW_HU,
    WELL_AERATED_BELOW_HU,
    Row,
)
from infnet.quantification.study import Study
from infnet.report.layout import Table
from infnet.report.numbers import DASH, hounsfield, number, signed

AnyRow = TypeVar("AnyRow", bound=Mapping[str, Any])


def shown(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """The rows without what is outside every lobe, where that is nothing."""
    return [row for row in rows if row["region"] != OUTSIDE or row["volume_ml"]]


def findings_table(study: Study) -> Table:
    """Volumes, shares and severity scores of every region."""
    rows = [
        [
            row["region"].capitalize(),
            number(row["volume_ml"]),
            number(row["ggo_ml"]),
            number(row["ggo_percent"]),
            number(row["consolidation_ml"]),
            number(row["consolidation_percent"]),
            number(row["infection_ml"]),
            number(row["infection_percent"]),
            DASH if row["severity"] is None else str(row["severity"]),
        ]
        for row in shown(study.table)
    ]
    if study.severity is not None:
        rows[-1][-1] = f"{study.severity}/25"
    return Table(
        "Findings",
        (
            ("Region", ()),
            ("Volume", ("mL",)),
            *((name, ("mL", "%")) for name in ("Ground glass", "Consolidation", "Infection")),
            ("Score", (f"0{DASH}5",)),
        ),
        rows,
        "Percentages are of the region's volume. " + _score_note(study),
    )


def _score_note(study: Study) -> str:
    if study.severity is None and study.sources.get("lobes") in (None, "none"):
        return "The lobes were not told apart, so there is no severity score."
    if all(row["severity"] is None for row in study.table):
        return "The parts are not lobes, so there is no severity score."
    definition = (
        "Severity score of a lobe by its infected share (Pan et al., Radiology 2020): 0 none, 1 below 5 %, 2 to 25 %, "
        "3 below 50 %, 4 to 75 %, 5 above; "
    )
    if study.severity is None:
        return definition + "a lobe is missing, so there is no total."
    return definition + "the total is out of 25."


def density_table(rows: Sequence[Row]) -> Table:
    """Mean HU of every region and finding, and the region's compartments by density."""
    low, middle, high = (
        signed(str(hu)) for hu in (HYPERINFLATED_BELOW_HU, WELL_AERATED_BELOW_HU, POORLY_AERATED_BELOW_HU)
    )
    return Table(
        "Density and aeration",
        (
            ("Region", ()),
            ("Mean ± SD in HU", ("whole region", "ground glass", "consolidation")),
            ("Share of the volume in %", ("hyperinflated", "well aerated", "poorly aerated", "non-aerated")),
        ),
        [
            [
                row["region"].capitalize(),
                hounsfield(row["volume_mean_hu"], row["volume_sd_hu"]),
                hounsfield(row["ggo_mean_hu"], row["ggo_sd_hu"]),
                hounsfield(row["consolidation_mean_hu"], row["consolidation_sd_hu"]),
                number(row["hyperinflated_percent"]),
                number(row["well_aerated_percent"]),
                number(row["poorly_aerated_percent"]),
                number(row["non_aerated_percent"]),
            ]
            for row in shown(rows)
        ],
        f"Hyperinflated below {low} HU, well aerated to {middle}, poorly aerated to {high}, non-aerated above, by the "
        "CT's values alone.",
    )
