"""How much of each lung is infected, in millilitres and percent."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.lungs import LEFT, RIGHT
from infnet.data.files import written_whole
from infnet.data.findings import CONSOLIDATION, GROUND_GLASS_OPACITY


class Row(TypedDict):
    """Volumes of one region, and the findings' shares of the region's volume (0 to 100; None where it has none)."""

    region: str
    volume_ml: float
    ggo_ml: float
    consolidation_ml: float
    infection_ml: float
    ggo_percent: float | None
    consolidation_percent: float | None
    infection_percent: float | None


def quantify(labels: sitk.Image, lungs: sitk.Image) -> list[Row]:
    """The rows "right lung", "left lung" and "total".

    ``labels`` (0, 1 ground-glass opacity, 2 consolidation) and ``lungs`` (0, 1 right, 2 left) are uint8 on one grid;
    findings outside the lungs are not counted. Right and left add up to the total, and the two findings to the
    infection, exactly.
    """
    voxel_mm3 = abs(np.linalg.det(np.reshape(labels.GetDirection(), (3, 3)))) * np.prod(labels.GetSpacing())
    # In single precision, so that its products with voxel counts, and their sums, are exact in double precision.
    voxel_ml = float(np.float32(voxel_mm3 / 1000))
    pairs = 3 * sitk.GetArrayViewFromImage(lungs) + sitk.GetArrayViewFromImage(labels)
    counts = np.bincount(pairs.ravel(), minlength=9).reshape(3, 3)
    regions = {"right lung": counts[RIGHT], "left lung": counts[LEFT], "total": counts[RIGHT] + counts[LEFT]}
    return [_row(region, by_label, voxel_ml) for region, by_label in regions.items()]


def _row(region: str, voxels_by_label: np.ndarray[tuple[int], np.dtype[np.int64]], voxel_ml: float) -> Row:
    volume = int(voxels_by_label.sum())
    ggo = int(voxels_by_label[GROUND_GLASS_OPACITY.label])
    consolidation = int(voxels_by_label[CONSOLIDATION.label])
    return Row(
        region=region,
        volume_ml=volume * voxel_ml,
        ggo_ml=ggo * voxel_ml,
        consolidation_ml=consolidation * voxel_ml,
        infection_ml=(ggo + consolidation) * voxel_ml,
        ggo_percent=_percent(ggo, volume),
        consolidation_percent=_percent(consolidation, volume),
        infection_percent=_percent(ggo + consolidation, volume),
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def write_table(rows: Sequence[Row], case: str, path: Path) -> None:
    """Write the rows as CSV, with the case's name in the first column, None as nothing. Raises `OutputError`."""
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["case", *Row.__annotations__])
        writer.writeheader()
        writer.writerows({"case": case, **row} for row in rows)
