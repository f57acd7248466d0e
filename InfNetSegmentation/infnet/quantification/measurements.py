"""How much of each lobe, of each lung and of both is infected, in millilitres, percent and Hounsfield units."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from infnet.anatomy.contrast import contrast_warnings
from infnet.anatomy.lobes import Lobes
from infnet.anatomy.regions import LOBES, LUNGS
from infnet.data.files import written_whole
from infnet.data.findings import CONSOLIDATION, GROUND_GLASS_OPACITY
from infnet.quantification.truncation import truncation_warnings
from infnet.threads import in_threads

OUTSIDE = "outside every lobe"
TOTAL = "total"

HYPERINFLATED_BELOW_HU, WELL_AERATED_BELOW_HU, POORLY_AERATED_BELOW_HU = -900, -500, -100
"""Compartments of the lung by density, each without its upper bound: Gattinoni et al., Am J Respir Crit Care Med
164:1701, 2001. There the last ends at 100 HU; here all denser lung is non-aerated, so that the four add up."""
_BOUNDS_HU = (HYPERINFLATED_BELOW_HU, WELL_AERATED_BELOW_HU, POORLY_AERATED_BELOW_HU)

_SLAB_VOXELS = 1 << 22
_NOTABLE_SHARE = 0.05

Sums = NDArray[np.float64]


class Row(TypedDict):
    """What is in one region. Percentages (0 to 100) are of the region's volume, None where that is 0.

    ``…_mean_hu`` is None where there is no voxel. ``…_sd_hu`` is the sample standard deviation, None of fewer than two
    voxels. ``severity`` is None for an empty lobe, and for what is no lobe.
    """

    region: str
    volume_ml: float
    ggo_ml: float
    consolidation_ml: float
    infection_ml: float
    ggo_percent: float | None
    consolidation_percent: float | None
    infection_percent: float | None
    severity: int | None
    volume_mean_hu: float | None
    volume_sd_hu: float | None
    ggo_mean_hu: float | None
    ggo_sd_hu: float | None
    consolidation_mean_hu: float | None
    consolidation_sd_hu: float | None
    infection_mean_hu: float | None
    infection_sd_hu: float | None
    hyperinflated_ml: float
    hyperinflated_percent: float | None
    well_aerated_ml: float
    well_aerated_percent: float | None
    poorly_aerated_ml: float
    poorly_aerated_percent: float | None
    non_aerated_ml: float
    non_aerated_percent: float | None


@dataclass(frozen=True)
class Measurements:
    """The table of a study.

    rows - lobes (or zones) and "outside every lobe", where there are any; "right lung", "left lung", "total"
    severity - CT severity score, 0 to 25; None where one of the five lobes is missing, or where there are zones
    sources - where the lobes come from and whether they are approximate
    warnings - what the numbers may lack, one sentence each
    """

    rows: list[Row]
    severity: int | None
    sources: Mapping[str, Any]
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "table": self.rows,
            "severity": self.severity,
            "sources": dict(self.sources),
            "warnings": self.warnings,
        }


def measure(
    ct: sitk.Image, findings: sitk.Image, lungs: sitk.Image, lobes: Lobes | None, contrast_agent: str = ""
) -> Measurements:
    """Measure the findings (uint8: 0, 1 ground-glass opacity, 2 consolidation) of a CT (HU) within its lungs.

    ``lungs`` (uint8: 0, 1 right, 2 left) and ``lobes`` are on the CT's grid, as the findings are. What lies outside
    the lungs is not counted. The columns in mL add up exactly: lobes and "outside every lobe" to the total, right and
    left to the total, ground glass and consolidation to the infection, the four compartments to the volume.

    Without ``lobes`` the rows are the lungs and the total. ``contrast_agent`` is what the CT's DICOM header says of it.
    Raises `ValueError` for images of different sizes.
    """
    regions = lobes.regions if lobes else ()
    sums = _sums(ct, findings, lungs, lobes.image if lobes else None, len(regions))
    size_ml = voxel_ml(ct)
    rows = []
    if lobes:
        by_lobe = sums.sum(axis=0)
        rows = [_row(region.name, by_lobe[region.label], size_ml, lobes.regions == LOBES) for region in regions]
        rows.append(_row(OUTSIDE, by_lobe[0], size_ml))
    by_lung = sums.sum(axis=1)
    rows += [_row(lung.name, by_lung[lung.label - 1], size_ml) for lung in LUNGS]
    rows.append(_row(TOTAL, by_lung.sum(axis=0), size_ml))
    scores = [row["severity"] for row in rows if row["severity"] is not None]
    return Measurements(
        rows=rows,
        severity=sum(scores) if len(scores) == len(LOBES) else None,
        sources=_sources(lobes),
        warnings=[*_warnings(rows, lobes, findings, lungs, size_ml), *contrast_warnings(ct, lungs, contrast_agent)],
    )


def _sources(lobes: Lobes | None) -> dict[str, Any]:
    if lobes is None:
        return {"lobes": "none"}
    sources: dict[str, Any] = {"lobes": lobes.source, "lobes_approximate": lobes.approximate}
    return sources | ({"lobes_attribution": lobes.attribution} if lobes.attribution else {})


def severity_score(percent: float) -> int:
    """CT severity score of a lobe of which ``percent`` (0 to 100) is infected; the five add up to 0 to 25.

    Pan et al., Radiology 295:715, 2020: 0 none, 1 less than 5 %, 2 to 25 %, 3 26 to 49 %, 4 50 to 75 %, 5 more. There
    whole percents are estimated by eye; of measured ones, 5 and 25 score 2, 50 and 75 score 4.
    """
    if percent == 0:
        return 0
    return 1 + (percent >= 5) + (percent > 25) + (percent >= 50) + (percent > 75)


def write_table(rows: Sequence[Row], case: str, path: Path) -> None:
    """Write the rows as CSV, with the case's name in the first column, None as nothing. Raises `OutputError`."""
    write_rows([{"case": case, **row} for row in rows], ["case", *Row.__annotations__], path)


def write_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    """Write a CSV file (UTF-8), None as nothing. Raises `OutputError`."""
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def voxel_ml(image: sitk.Image) -> float:
    """Volume of a voxel, from the whole direction matrix: the axes of a tilted gantry are not at right angles."""
    voxel_mm3 = abs(np.linalg.det(np.reshape(image.GetDirection(), (3, 3)))) * np.prod(image.GetSpacing())
    # In single precision, so that its products with voxel counts, and their sums, are exact in double precision.
    return float(np.float32(voxel_mm3 / 1000))


def _sums(ct: sitk.Image, findings: sitk.Image, lungs: sitk.Image, lobes: sitk.Image | None, lobe_count: int) -> Sums:
    """Number of voxels, sum and sum of squares of their HU: (lung, lobe or 0, finding or 0, compartment, 3)."""
    images = [ct, findings, lungs] + ([lobes] if lobes else [])
    if len({image.GetSize() for image in images}) > 1:
        raise ValueError(f"images of different sizes: {', '.join(str(image.GetSize()) for image in images)}")
    hu, labels, sides, *parts = (sitk.GetArrayViewFromImage(image).reshape(-1) for image in images)
    shape = (len(LUNGS), lobe_count + 1, 3, len(_BOUNDS_HU) + 1)

    def of_slab(start: int) -> Sums:
        slab = slice(start, start + _SLAB_VOXELS)
        inside = np.flatnonzero(sides[slab])
        values = hu[slab][inside].astype(np.float64)
        lobe = parts[0][slab][inside] if parts else np.zeros_like(inside)
        compartment = np.digitize(values, _BOUNDS_HU)
        index = np.ravel_multi_index((sides[slab][inside] - 1, lobe, labels[slab][inside], compartment), shape)
        moments = (None, values, values**2)
        return np.stack([np.bincount(index, weights, math.prod(shape)) for weights in moments]).astype(np.float64)

    # In slabs: of a whole CT, the indices alone would take gigabytes.
    sums = sum(in_threads(of_slab, *range(0, hu.size, _SLAB_VOXELS)), np.zeros((3, math.prod(shape))))
    return np.moveaxis(sums.reshape(3, *shape), 0, -1)


def _row(region: str, sums: Sums, size_ml: float, is_lobe: bool = False) -> Row:
    """The row of a region from its sums (finding or 0, compartment, 3)."""
    ggo, consolidation = (sums[finding.label].sum(axis=0) for finding in (GROUND_GLASS_OPACITY, CONSOLIDATION))
    whole = sums.sum(axis=(0, 1))
    region_voxels = float(whole[0])
    values: dict[str, Any] = {"region": region}
    for name, moments in (
        ("volume", whole),
        ("ggo", ggo),
        ("consolidation", consolidation),
        ("infection", ggo + consolidation),
    ):
        voxels, total, squares = moments.tolist()
        values[f"{name}_ml"] = voxels * size_ml
        values[f"{name}_percent"] = _percent(voxels, region_voxels)
        values[f"{name}_mean_hu"] = total / voxels if voxels else None
        values[f"{name}_sd_hu"] = math.sqrt(max(squares - total**2 / voxels, 0) / (voxels - 1)) if voxels > 1 else None
    compartments = sums.sum(axis=0)[:, 0].tolist()
    for name, voxels in zip(
        ("hyperinflated", "well_aerated", "poorly_aerated", "non_aerated"), compartments, strict=True
    ):
        values[f"{name}_ml"] = voxels * size_ml
        values[f"{name}_percent"] = _percent(voxels, region_voxels)
    percent = values["infection_percent"]
    values["severity"] = severity_score(percent) if is_lobe and percent is not None else None
    return cast(Row, {key: values[key] for key in Row.__annotations__})


def _percent(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole else None


def _warnings(
    rows: Sequence[Row], lobes: Lobes | None, findings: sitk.Image, lungs: sitk.Image, size_ml: float
) -> list[str]:
    total = rows[-1]
    warnings = list(lobes.warnings) if lobes else []
    warnings += truncation_warnings(lungs)
    if total["volume_ml"] == 0:
        warnings.append("There is no lung in the lung mask: nothing was measured.")
    found_ml = np.count_nonzero(sitk.GetArrayViewFromImage(findings)) * size_ml
    if (lost_ml := found_ml - total["infection_ml"]) > _NOTABLE_SHARE * found_ml:
        warnings.append(
            f"{lost_ml:.1f} of {found_ml:.1f} mL of the findings lie outside the lung mask and are not counted: does "
            "the mask lack dense lung?"
        )
    if lobes and total["volume_ml"]:
        *parts, outside = rows[: len(lobes.regions) + 1]
        if outside["volume_ml"] > _NOTABLE_SHARE * total["volume_ml"]:
            share = 100 * outside["volume_ml"] / total["volume_ml"]
            warnings.append(f"{share:.0f} % of the lungs lie outside every lobe: the lobes' rows lack them.")
        empty = [row["region"] for row in parts if row["volume_ml"] == 0]
        if empty and lobes.regions == LOBES:
            warnings.append(f"Nothing was found of the {', '.join(empty)}: there is no total severity score.")
    return warnings
