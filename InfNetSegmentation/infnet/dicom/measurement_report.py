"""The measurements of a result as a DICOM structured report (SR, TID 1500)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from highdicom import UID
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.seg import Segmentation
from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes

import infnet
from infnet.anatomy.regions import LOBES, LUNG, LUNGS, ZONES
from infnet.data.findings import CATEGORY, CONSOLIDATION, GROUND_GLASS_OPACITY
from infnet.dicom.concepts import (
    ANATOMY,
    INFECTION,
    MANUFACTURER,
    MODEL,
    NOTICE,
    PRIVATE_SCHEME,
    Algorithm,
    concept,
)
from infnet.dicom.series import SourceSeries
from infnet.quantification.measurements import OUTSIDE, TOTAL

_SERIES_NUMBER = 9705
_FINDINGS = {
    "ggo": concept(GROUND_GLASS_OPACITY.code),
    "consolidation": concept(CONSOLIDATION.code),
    "infection": INFECTION,
}
_LUNGS = {region.name for region in LUNGS}
_REGIONS = {region.name: region for region in (*LUNGS, *LOBES, *ZONES)}
_MILLILITER = CodedConcept("mL", "UCUM", "milliliter")
_PERCENT_OF_REGION = CodedConcept("percent-region", PRIVATE_SCHEME, "Percent of the region's volume")
_SEVERITY = CodedConcept("severity-score", PRIVATE_SCHEME, "CT severity score")
_OUTSIDE = CodedConcept("outside-lobes", PRIVATE_SCHEME, "Outside every lobe")

Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True)
class SegmentReference:
    """A segment of a SEG, and its volume, by which it is known whether a row of the table is of that segment."""

    segmentation: Segmentation
    number: int
    volume_ml: float


def make_report(
    table: Sequence[Mapping[str, Any]],
    severity: int | None,
    segments: Mapping[str, SegmentReference],
    algorithms: Mapping[str, Algorithm],
    series: SourceSeries,
    remarks: Sequence[str],
) -> ComprehensiveSR:
    """A comprehensive SR, preliminary and unverified, in the study of its CT. PS3.16, TID 1500.

    table - one row a region (`infnet.quantification.measurements.Row`); each becomes a measurement group of the region
        itself, and one each of ground glass, consolidation and both in that region
    severity - CT severity score of all lobes
    segments - by the name of a region; "ggo" and "consolidation" for the whole findings. A group of the same volume
        refers to the segment (TID 1411), any other (TID 1501) only to the images of the report's library
    algorithms - of "findings", "lungs" and "lobes"
    remarks - sentences that become comments, after the notice that this is not for clinical use
    """
    groups = []
    for row in table:
        region = row["region"]
        structure, site = _site(region)
        score = severity if region == TOTAL else row.get("severity")
        scores = [] if score is None else [Measurement(_SEVERITY, score, codes.UCUM.NoUnits)]
        groups.append(
            _group(
                region,
                (ANATOMY, structure, site),
                _measurements(row, "volume") + scores,
                algorithms["lungs" if region in (TOTAL, *_LUNGS) else "lobes"],
                _reference(segments.get(region), row["volume_ml"], series),
            )
        )
        for name, finding in _FINDINGS.items():
            groups.append(
                _group(
                    f"{finding.CodeMeaning}, {region}",
                    (concept(CATEGORY), finding, site),
                    _measurements(row, name),
                    algorithms["findings"],
                    _reference(segments.get(name) if region == TOTAL else None, row[f"{name}_ml"], series),
                )
            )
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                    uid=UID(), name="InfNet", manufacturer_name=MANUFACTURER, model_name=f"{MODEL} {infnet.__version__}"
                ),
            )
        ),
        procedure_reported=codes.cid100.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=series.images,
    )
    report[0].ContentSequence.extend(
        TextContentItem(codes.DCM.Comment, text, relationship_type=RelationshipTypeValues.CONTAINS)
        for text in (f"{NOTICE}.", *remarks)
    )
    segmentations = {s.segmentation.SOPInstanceUID: s.segmentation for s in segments.values()}
    sr = ComprehensiveSR(
        evidence=[*series.images, *segmentations.values()],
        content=report[0],
        series_instance_uid=UID(),
        series_number=_SERIES_NUMBER,
        series_description=f"InfNet measurements. {NOTICE}",
        sop_instance_uid=UID(),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=infnet.__version__,
    )
    sr.CodingSchemeIdentificationSequence = [
        CodingSchemeIdentificationItem(PRIVATE_SCHEME, name="InfNet's own codes", responsible_organization=MANUFACTURER)
    ]
    return sr


def _group(
    label: str,
    subject: tuple[CodedConcept, CodedConcept, FindingSite],
    measurements: Sequence[Measurement],
    algorithm: Algorithm,
    segment: tuple[str, ReferencedSegment] | None,
) -> Group:
    """One measurement group; ``subject`` is the category, the finding and its site."""
    category, finding, site = subject
    common: dict[str, Any] = {
        "algorithm_id": algorithm.for_report(),
        "finding_category": category,
        "finding_type": finding,
        "finding_sites": [site],
        "measurements": measurements,
    }
    if segment is None:
        return MeasurementsAndQualitativeEvaluations(tracking_identifier=TrackingIdentifier(UID(), label), **common)
    tracking_uid, reference = segment
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(tracking_uid, label), referenced_segment=reference, **common
    )


def _reference(
    segment: SegmentReference | None, volume_ml: float, series: SourceSeries
) -> tuple[str, ReferencedSegment] | None:
    """The segment's tracking UID and the reference to it, if what was measured is all of it.

    The table is of what lies within the lungs, so a segment that reaches beyond them was not measured as a whole.
    """
    if segment is None or not math.isclose(segment.volume_ml, volume_ml, rel_tol=1e-5):
        return None
    sop = segment.segmentation
    reference = ReferencedSegment(
        sop.SOPClassUID,
        sop.SOPInstanceUID,
        segment.number,
        source_series=SourceSeriesForSegmentation(series.uid),
    )
    return str(sop.SegmentSequence[segment.number - 1].TrackingUID), reference


def _measurements(row: Mapping[str, Any], name: str) -> list[Measurement]:
    """Volume, share of the region, mean and standard deviation of HU, as far as the row has them."""
    kinds = {
        "ml": (codes.SCT.Volume, _MILLILITER, None),
        "percent": (_PERCENT_OF_REGION, codes.UCUM.Percent, None),
        "mean_hu": (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit, codes.SCT.Mean),
        "sd_hu": (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit, codes.SCT.StandardDeviation),
    }
    return [
        Measurement(kind, row[f"{name}_{key}"], unit, derivation=derivation)
        for key, (kind, unit, derivation) in kinds.items()
        if row.get(f"{name}_{key}") is not None
    ]


def _site(region: str) -> tuple[CodedConcept, FindingSite]:
    """The structure that a row is about, and where in the body it is."""
    if region in _REGIONS:
        structure, side = concept(_REGIONS[region].structure), concept(_REGIONS[region].laterality)
        return structure, FindingSite(structure, side)
    lung = concept(LUNG)
    outside = _OUTSIDE if region == OUTSIDE else None
    return lung, FindingSite(lung, codes.SCT.Bilateral, outside)
