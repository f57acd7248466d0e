"""Label images and probabilities as DICOM segmentations (SEG), and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from highdicom import UID
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
    segread,
)
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

import infnet
from infnet.anatomy.regions import Region
from infnet.data.dicom_lengths import lengths_fit
from infnet.data.findings import CATEGORY, REGION, Finding
from infnet.data.terminology import Code
from infnet.data.volumes import check_extent
from infnet.dicom.concepts import ANATOMY, INFECTION, MANUFACTURER, MODEL, NOTICE, Algorithm, concept
from infnet.dicom.series import SourceSeries
from infnet.errors import InputError, InputNotFoundError, OutOfMemoryError, UnreadableImageError, is_out_of_memory

_SERIES_NUMBERS = {"findings": 9701, "lungs": 9702, "lobes": 9703, "infection": 9704}


@dataclass(frozen=True)
class Segment:
    """What a segment is: category, type and its modifier (a side), and where it lies."""

    name: str
    colour: tuple[int, int, int]
    category: CodedConcept
    kind: CodedConcept
    modifier: CodedConcept | None = None
    region: CodedConcept | None = None

    @classmethod
    def of(cls, part: Finding | Region) -> "Segment":
        if isinstance(part, Finding):
            return cls(part.name, part.colour, concept(CATEGORY), concept(part.code), region=concept(REGION))
        return cls(part.name, part.colour, ANATOMY, concept(part.structure), modifier=concept(part.laterality))


INFECTION_SEGMENT = Segment("Infection", (255, 255, 0), concept(CATEGORY), INFECTION, region=concept(REGION))


def make_segmentation(
    name: str,
    voxels: NDArray[Any],
    segments: Sequence[Segment],
    series: SourceSeries,
    algorithm: Algorithm,
) -> Segmentation:
    """A SEG of one label image or probability map, in a DICOM series of its own, and in the study of its CT.

    name - "findings", "lungs", "lobes" or "infection"
    voxels - (slice, row, column) of `SourceSeries.on_slices`: uint8, where n is the n-th of ``segments``, or float32,
        the probability (0 to 1) of the only one
    series - patient, study and frame of reference are taken from it; every frame refers to its slice

    Labels become BINARY segments that do not overlap, probabilities a FRACTIONAL one in steps of 1/255. Slices where
    nothing is labelled have no frame. IOD and attributes: PS3.3, A.51 and C.8.20.
    """
    is_labels = voxels.dtype == np.uint8
    return Segmentation(
        source_images=series.images,
        pixel_array=voxels,
        segmentation_type=SegmentationTypeValues.BINARY if is_labels else SegmentationTypeValues.FRACTIONAL,
        segment_descriptions=[_description(n, segment, algorithm) for n, segment in enumerate(segments, start=1)],
        series_instance_uid=UID(),
        series_number=_SERIES_NUMBERS[name],
        series_description=f"InfNet {name}. {NOTICE}",
        sop_instance_uid=UID(),
        instance_number=1,
        device_serial_number="none",
        content_label=name.upper(),
        content_description=f"{name.capitalize()}. {NOTICE}",
        transfer_syntax_uid=ExplicitVRLittleEndian if is_labels else RLELossless,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=infnet.__version__,
    )


def read_segmentation(path: Path, kinds: Mapping[int, Code] | None = None) -> sitk.Image:
    """A DICOM SEG, of whatever tool, as a label image (uint8 or uint16).

    ``kinds`` says which labels the segments of these types get; others are not read. Without it, labels are segment
    numbers. Of segments that overlap, the last is seen. The image has the SEG's own slices, which need not be all of
    the CT's.

    Raises `InputNotFoundError`, `InputError` where no segment is of these types, `GeometryError` where its slices are
    too far or too near for a CT's, or `UnreadableImageError` for what is no SEG, or fractional, or of a tilted gantry.
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file.")
    try:
        if not lengths_fit(path):
            raise ValueError("a length in its header is wrong")
        segmentation = segread(path)
        if grid := segmentation.get_volume_geometry(allow_missing_positions=True):  # a slice far off makes it huge
            check_extent(grid.spatial_shape, grid.spacing, path)
        found = {n: segmentation.get_segment_description(n) for n in segmentation.segment_numbers}
        labels = {n: n for n in found}
        if kinds is not None:
            label_of = {concept(code): label for label, code in kinds.items()}
            types = {n: description.segmented_property_type for n, description in found.items()}
            labels = {n: label_of[kind] for n, kind in types.items() if kind in label_of}
        if not labels:
            names = ", ".join(str(description.segment_label) for description in found.values())
            raise InputError(f"{path}: none of its segments ({names}) has the code of what is looked for.")
        volume = segmentation.get_volume(segment_numbers=list(labels), combine_segments=True, skip_overlap_checks=True)
    except InputError:
        raise
    except Exception as error:  # of damaged files, pydicom and highdicom raise errors of many kinds
        if is_out_of_memory(error):
            raise OutOfMemoryError(f"{path}: there is not enough memory for it; close other programs.") from error
        raise UnreadableImageError(f"{path}: not a DICOM segmentation of one volume with whole voxels.") from error
    table = np.zeros(max(found) + 1, np.uint8 if max(labels.values()) < 256 else np.uint16)
    table[list(labels)] = list(labels.values())
    image = sitk.GetImageFromArray(table[volume.array])
    image.SetOrigin(list(volume.position))
    image.SetSpacing(list(volume.spacing)[::-1])
    image.SetDirection(np.array(volume.direction)[:, ::-1].ravel().tolist())
    return image


def _description(number: int, segment: Segment, algorithm: Algorithm) -> SegmentDescription:
    description = SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=segment.category,
        segmented_property_type=segment.kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm.for_segmentation(),
        tracking_uid=UID(),
        tracking_id=segment.name,
        anatomic_regions=[segment.region] if segment.region else None,
        display_color=CIELabColor.from_rgb(*segment.colour),
    )
    if segment.modifier:  # inside the type's item, where highdicom has no argument for it
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [segment.modifier]
    return description
