"""A result as DICOM objects: a segmentation of each of its images, and a report of its measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset

from infnet.anatomy import regions
from infnet.data import findings
from infnet.data.files import written_together, written_whole
from infnet.dicom.concepts import Algorithm
from infnet.dicom.measurement_report import SegmentReference, make_report
from infnet.dicom.segmentations import INFECTION_SEGMENT, Segment, make_segmentation
from infnet.dicom.series import SourceSeries
from infnet.errors import InputError
from infnet.quantification.measurements import Row, voxel_ml
from infnet.reporting import Progress, silent

FINDINGS, LUNGS, LOBES, INFECTION = "findings", "lungs", "lobes", "infection"
REPORT = "measurements"
FILES: Mapping[str, str] = {name: f"{name}.dcm" for name in (FINDINGS, LUNGS, LOBES, INFECTION, REPORT)}
"""The file of each object."""


@dataclass(frozen=True)
class Result:
    """What was found and measured.

    images - by name (`FINDINGS` …), as far as there are, with the paths they were read from; labels of
        `infnet.data.findings` and `infnet.anatomy.regions`, or the probability of infection
    lungs_source, lobes_source - where they come from, as a study's ``sources`` say it
    table, severity - of `infnet.quantification.measurements.measure`; without a table there is no report
    provenance - models, their weights' SHA-256, versions
    """

    images: Mapping[str, tuple[sitk.Image, Path]]
    lungs_source: str = "unknown"
    lobes_source: str = "unknown"
    table: Sequence[Row] = ()
    severity: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def write_dicom(result: Result, series: SourceSeries, folder: Path, progress: Progress = silent) -> dict[str, Path]:
    """Write a result's objects into ``folder``; returns their paths by name.

    Objects of an earlier result go when the new ones are whole, so that never two lie there together. Raises
    `GeometryError` or `InputError` where an image does not fit the series, before anything is written, and
    `OutputError`.
    """
    try:
        objects = _make_objects(result, series, progress)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of highdicom, which copies the attributes
        raise InputError(
            f"DICOM series {series.uid}: its attributes cannot be taken over ({error}); export or anonymise it again."
        ) from error
    with written_together(folder, last=FILES[FINDINGS], optional=list(FILES.values())) as new:
        for name, dataset in objects.items():
            with written_whole(new / FILES[name]) as temporary:
                dataset.save_as(temporary)
    return {name: folder / FILES[name] for name in objects}


def _make_objects(result: Result, series: SourceSeries, progress: Progress) -> dict[str, Dataset]:
    size_ml = voxel_ml(series.ct)
    lobes = regions.ZONES if result.lobes_source == "zones" else regions.LOBES
    parts = {FINDINGS: findings.FINDINGS, LUNGS: regions.LUNGS, LOBES: lobes}
    algorithms = {
        FINDINGS: Algorithm.of_findings(result.provenance),
        LUNGS: Algorithm.of_regions(LUNGS, result.lungs_source),
        LOBES: Algorithm.of_regions(LOBES, result.lobes_source),
    }
    objects: dict[str, Dataset] = {}
    references: dict[str, SegmentReference] = {}
    steps = len(result.images) + bool(result.table)
    for name, (image, path) in result.images.items():
        progress("objects", len(objects), steps)
        voxels = sitk.GetArrayFromImage(series.on_slices(image, path))
        if name == INFECTION:
            voxels = np.clip(voxels, 0, 1, dtype=np.float32)
            objects[name] = make_segmentation(name, voxels, [INFECTION_SEGMENT], series, algorithms[FINDINGS])
            continue
        segments = [Segment.of(part) for part in parts[name]]
        objects[name] = made = make_segmentation(name, voxels.astype(np.uint8), segments, series, algorithms[name])
        keys = ("ggo", "consolidation") if name == FINDINGS else [segment.name for segment in segments]
        for number, key in enumerate(keys, start=1):
            references[key] = SegmentReference(made, number, np.count_nonzero(voxels == number) * size_ml)
    if result.table:
        progress("objects", len(objects), steps)
        remarks = [f"Warning: {warning}" for warning in result.warnings]
        objects[REPORT] = make_report(result.table, result.severity, references, algorithms, series, remarks)
    progress("objects", steps, steps)
    return objects
