"""What the commands that write regions of the lungs share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from infnet.anatomy.regions import Region
from infnet.data.files import check_output
from infnet.data.segmentations import SEGMENTATION_ENDING, write_segmentation
from infnet.data.volumes import IMAGE_ENDINGS, write_image
from infnet.errors import OutputError


def check_region_output(path: Path, inputs: Sequence[Path]) -> None:
    """Raise `OutputError` if the file cannot be written later, or is one of the inputs."""
    check_output(path, IMAGE_ENDINGS)
    if path.resolve() in {source.resolve() for source in inputs}:
        raise OutputError(f"{path} is an input; give the output a name of its own.")


def write_regions(labels: sitk.Image, regions: Sequence[Region], path: Path, provenance: Mapping[str, Any]) -> None:
    """As segments with their terminology into a .seg.nrrd, as a label image into any other file."""
    if path.name.lower().endswith(SEGMENTATION_ENDING):
        write_segmentation(labels, path, provenance, regions)
    else:
        write_image(labels, path)


def region_volumes(labels: sitk.Image, regions: Sequence[Region]) -> dict[str, float]:
    """Volume in mL by the region's name."""
    voxel_mm3 = abs(np.linalg.det(np.reshape(labels.GetDirection(), (3, 3)))) * np.prod(labels.GetSpacing())
    sizes = np.bincount(sitk.GetArrayViewFromImage(labels).ravel(), minlength=max(r.label for r in regions) + 1)
    return {region.name: round(float(sizes[region.label] * voxel_mm3 / 1000), 1) for region in regions}


def volume_lines(volumes: Mapping[str, float]) -> list[str]:
    return [f"{name:<18}{volume:>8.1f} mL" for name, volume in volumes.items()]
