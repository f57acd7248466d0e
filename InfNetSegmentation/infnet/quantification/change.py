"""How a patient's figures change from study to study, and where disease is new, resolved or persistent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.lungs import SOURCE
from infnet.anatomy.morphology import box_of
from infnet.data.volumes import on_one_grid, read_ct
from infnet.errors import InputError
from infnet.quantification.measurements import Row, voxel_ml
from infnet.quantification.registration import Chest, LungRegistration, corners, grid_over, register_lungs, shown
from infnet.quantification.study import Study
from infnet.reporting import Progress, silent

FIGURES = tuple(key for key in Row.__annotations__ if key != "region")
"""Of each region: the columns of the table."""

PERSISTENT, NEW, RESOLVED = 1, 2, 3
_MARGIN_MM = 40.0  # more than the splines move a lesion by


class Change(TypedDict):
    """A figure of a region in one study, and what became of it since the first study and since the one before.

    ``change`` is in the figure's unit, ``change_percent`` in percent of the earlier value; None where one of the
    values is missing, or for a percentage of zero.
    """

    case: str
    date: str | None
    region: str
    figure: str
    value: float | None
    change: float | None
    change_percent: float | None
    change_since_previous: float | None
    change_since_previous_percent: float | None


@dataclass(frozen=True)
class ChangeMap:
    """Where infection is persistent (1), new (2) or resolved (3), on the earlier CT's grid, in its anatomy.

    ``volumes_ml`` of the three; the later study's lesions count as large as they are in the earlier lungs. What one of
    the scans does not show is none of them: ``unseen_ml`` of the earlier infection lie outside the later scan, and
    ``unseen_before_ml`` of the later infection outside the earlier one.
    """

    image: sitk.Image
    volumes_ml: Mapping[str, float]
    unseen_ml: float
    unseen_before_ml: float
    registration: LungRegistration

    @property
    def warnings(self) -> list[str]:
        """Why not to trust the map, one sentence each, or none."""
        warnings = self.registration.warnings
        if self.unseen_ml:
            warnings.append(
                f"Of the earlier infection, {self.unseen_ml:.1f} mL lie outside the later scan: what became of them is "
                "not known."
            )
        if self.unseen_before_ml:
            warnings.append(
                f"Of the later infection, {self.unseen_before_ml:.1f} mL lie outside the earlier scan: whether they "
                "are new is not known."
            )
        return warnings


def in_order(studies: Sequence[Study]) -> tuple[list[Study], list[str]]:
    """The studies by date, and a warning where not all have one and the order is therefore as given.

    Raises `InputError` for fewer than two, for two of one folder, and for studies of several patients.
    """
    if len(studies) < 2:
        raise InputError("A comparison needs two studies or more.")
    if len({study.folder.resolve() for study in studies}) < len(studies):
        raise InputError("The same study is named twice.")
    cases = [study.case for study in studies]
    if twice := sorted({case for case in cases if cases.count(case) > 1}):
        raise InputError(
            f"Several studies are called {', '.join(twice)}: give each a name of its own (segment --study)."
        )
    patients = {study.patient for study in studies if study.patient is not None}
    if len(patients) > 1:
        raise InputError(f"The studies are of several patients: {', '.join(sorted(patients))}.")
    undated = [study.case for study in studies if study.date is None]
    if undated:
        return list(studies), [f"The date of {', '.join(undated)} is not known: they are in the order given."]
    return sorted(studies, key=lambda study: cast(str, study.date)), []


def comparison_warnings(studies: Sequence[Study]) -> list[str]:
    """What makes the figures of studies hard to compare, one sentence each, or none."""
    warnings = []
    for name, values in (
        ("regions", {tuple(row["region"] for row in study.table) for study in studies}),
        ("sources of the lobes", {study.sources.get("lobes") for study in studies}),
        ("infection models", {study.provenance.get("infection_weights_sha256") for study in studies}),
        ("models of the findings", {study.provenance.get("findings_weights_sha256") for study in studies}),
        ("thresholds", {study.provenance.get("threshold") for study in studies}),
        ("averages across slices", {study.provenance.get("smoothing_mm", 0.0) for study in studies}),
        ("numbers of mirror images", {study.provenance.get("mirror_images") for study in studies}),
        ("sizes of the smallest lesion", {study.provenance.get("minimum_lesion_ml") for study in studies}),
        ("sources of the lungs", {study.sources.get("lungs") == SOURCE for study in studies}),
    ):
        if len(values) > 1:
            warnings.append(f"The studies have different {name}: a change may be due to that.")
    return warnings


def changes(studies: Sequence[Study]) -> list[Change]:
    """Every figure of every region that the studies have, study by study in the order given."""
    regions = dict.fromkeys(row["region"] for study in studies for row in study.table)
    tables = [{row["region"]: cast(Mapping[str, Any], row) for row in study.table} for study in studies]
    result = []
    for region in regions:
        for figure in FIGURES:
            values = [table.get(region, {}).get(figure) for table in tables]
            if all(value is None for value in values):
                continue
            for study, value, previous in zip(studies, values, [None, *values], strict=False):
                result.append(
                    Change(
                        case=study.case,
                        date=study.date,
                        region=region,
                        figure=figure,
                        value=value,
                        change=_difference(value, values[0]),
                        change_percent=_percent(value, values[0]),
                        change_since_previous=_difference(value, previous),
                        change_since_previous_percent=_percent(value, previous),
                    )
                )
    return result


def map_change(earlier: Study, later: Study, progress: Progress = silent) -> ChangeMap:
    """Register the later study's lungs onto the earlier one's and tell new, resolved and persistent infection apart.

    Raises `InputError` where a CT or an image of a study is gone, and `NoLungError`.
    """
    chests = []
    for study in (earlier, later):
        # Whether its values are Hounsfield units was settled when the study was made, which tells of it.
        ct, _ = read_ct(study.ct, trust_hu=True)
        findings, lungs = study.findings(), study.lungs()
        if not (on_one_grid(ct, findings) and on_one_grid(ct, lungs)):
            raise InputError(f"{study.ct}: no longer the CT of {study.folder}; segment it again.")
        for image in (findings, lungs):  # which may differ in rounding, more than ITK lets pass
            image.CopyInformation(ct)
        chests.append(Chest(ct, lungs, sitk.Mask(findings, lungs)))  # what the table counts
    one, other = chests
    registration = register_lungs(one, other, progress)
    moved = sitk.Resample(other.findings, one.findings, registration.transform, sitk.sitkNearestNeighbor, 0)
    was, now = (sitk.GetArrayViewFromImage(image) > 0 for image in (one.findings, moved))
    seen = shown(other.ct, one.findings, registration.transform)
    labels = np.zeros(was.shape, np.uint8)
    labels[was & now], labels[~was & now], labels[was & ~now & seen] = PERSISTENT, NEW, RESOLVED
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(one.ct)
    size_ml = voxel_ml(one.ct)
    volumes = {
        name: np.count_nonzero(labels == label) * size_ml
        for name, label in (("persistent", PERSISTENT), ("new", NEW), ("resolved", RESOLVED))
    }
    unseen_ml = np.count_nonzero(was & ~seen) * size_ml
    return ChangeMap(image, volumes, unseen_ml, _beyond_ml(one.ct, other.findings, registration), registration)


def _beyond_ml(earlier: sitk.Image, findings: sitk.Image, registration: LungRegistration) -> float:
    """Volume of the later findings outside the earlier scan, counted at points 5 mm apart."""
    inside = sitk.GetArrayViewFromImage(findings) > 0
    if not inside.any():
        return 0.0
    back = registration.affine.GetInverse()
    ends = [back.TransformPoint(end) for end in corners(findings[box_of(inside)[::-1]]).tolist()]
    grid = grid_over(np.array(ends), _MARGIN_MM)
    moved = sitk.Resample(findings, grid, registration.transform, sitk.sitkNearestNeighbor, 0)
    beyond = ~shown(earlier, grid, sitk.Transform())
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(moved)[beyond]) * voxel_ml(grid))


def _difference(value: float | None, earlier: float | None) -> float | None:
    return None if value is None or earlier is None else value - earlier


def _percent(value: float | None, earlier: float | None) -> float | None:
    # Of Hounsfield units, which have no true zero, too: the sign of the change stays that of the difference.
    return None if value is None or not earlier else 100 * (value - earlier) / abs(earlier)
