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
from infnet.quantification.measurements import voxel_ml


def check_region_output(path: Path, inputs: Sequence[Path]) -> None:
    """Raise `OutputError` if the file cannot be written later, or is one of the inputs."""
    check_output(path, IMAGE_ENDINGS)
    if path.exists() and any(source.exists() and path.samefile(source) for source in inputs):
        raise OutputError(f"{path} is an input; give the output a name of its own.")


def write_regions(labels: sitk.Image, regions: Sequence[Region], path: Path, provenance: Mapping[str, Any]) -> None:
    """As segments with their terminology into a .seg.nrrd, as a label image into any other file."""
    if path.name.lower().endswith(SEGMENTATION_ENDING):
        write_segmentation(labels, path, provenance, regions)
    else:
        write_image(labels, path)


def region_volumes(labels: sitk.Image, regions: Sequence[Region]) -> dict[str, float]:
    """Volume in mL by the region's name."""
    voxels, size_ml = sitk.GetArrayViewFromImage(labels), voxel_ml(labels)
    return {region.name: round(np.count_nonzero(voxels == region.label) * size_ml, 1) for region in regions}


def volume_lines(volumes: Mapping[str, float]) -> list[str]:
    return [f"{name:<18}{volume:>8.1f} mL" for name, volume in volumes.items()]
