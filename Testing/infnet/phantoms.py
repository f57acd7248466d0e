"""A chest made of ellipsoids, sampled on any grid, with its truth."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

GGO_HU, CONSOLIDATION_HU = -550, 80


@dataclass(frozen=True)
class Phantom:
    """A CT and, on its grid, its lungs (1 right, 2 left) and its findings (1 ground glass, 2 consolidation)."""

    ct: sitk.Image
    lungs: sitk.Image
    findings: sitk.Image
    airways: sitk.Image


def empty_grid(size=(112, 96, 40), spacing=(3.0, 3.0, 5.0), direction=None):
    """A grid of any direction around the origin of physical space, where the phantom's centre is."""
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    if direction is not None:
        grid.SetDirection(np.ravel(direction).tolist())
    middle = grid.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in size])
    grid.SetOrigin([-c for c in middle])
    return grid


def make_chest(grid=None, noise_hu=15.0, joined=False, left_lung=True, consolidation=True):
    """Body, lungs, trachea, spine, stomach gas, table; ground glass on the right, consolidation at the left pleura.

    The sides are the patient's: physical x is negative on the right. ``joined`` lets the lungs touch in front.
    """
    grid = grid or empty_grid()
    x, y, z = coordinates(grid)

    def ellipsoid(centre, radii):
        return sum(((c - m) / r) ** 2 for c, m, r in zip((x, y, z), centre, radii, strict=True)) < 1

    hu = np.full(x.shape, -1000.0)
    hu[(abs(y - 128) < 14) & (abs(x) < 150)] = -880  # table: foam between two shells
    hu[(abs(abs(y - 128) - 14) < 3) & (abs(x) < 150)] = 150
    hu[(x / 150) ** 2 + (y / 112) ** 2 < 1] = 40
    hu[(x / 18) ** 2 + ((y - 78) / 18) ** 2 < 1] = 400
    right = ellipsoid((-68, 0, 0), (52, 76, 85))
    left = ellipsoid((68, 0, 0), (52, 76, 85)) & left_lung
    if joined:
        bridge = (abs(x) < 30) & (abs(y + 25) < 9) & (abs(z) < 30)
        right, left = right | (bridge & (x < 0)), left | (bridge & (x >= 0))
    hu[right | left] = -850
    hu[ellipsoid((85, -20, -105), (32, 30, 14))] = -1000  # gas in the stomach
    airways = ((x / 9) ** 2 + ((y - 10) / 9) ** 2 < 1) & (z > 20)
    hu[((x / 12) ** 2 + ((y - 10) / 12) ** 2 < 1) & (z > 20)] = 40
    hu[airways] = -1000
    ggo = ellipsoid((-75, 10, 20), (18, 18, 18)) & right
    dense = ellipsoid((92, 48, -10), (26, 26, 26)) & left & consolidation
    hu[ggo], hu[dense] = GGO_HU, CONSOLIDATION_HU
    hu += np.random.default_rng(0).normal(0, noise_hu, hu.shape) if noise_hu else 0
    return Phantom(
        ct=_image(hu.round().astype(np.int16), grid),
        lungs=_image(right + np.uint8(2) * left, grid),
        findings=_image(ggo + np.uint8(2) * dense, grid),
        airways=_image(airways.astype(np.uint8), grid),
    )


def oblique_direction(degrees=(0.0, 0.0, 0.0), permutation=(0, 1, 2), flips=(1, 1, 1), shear=0.0):
    """A direction matrix: rotated, with axes permuted and flipped, the third sheared against the second."""
    direction = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    direction = direction @ np.array([[1, 0, 0], [0, 1, shear], [0, 0, 1]])
    direction /= np.linalg.norm(direction, axis=0)
    return direction[:, list(permutation)] * np.asarray(flips)


DIRECTIONS = {
    "LPS": oblique_direction(),
    "RAS": oblique_direction(flips=(-1, -1, 1)),
    "feet last": oblique_direction(flips=(1, 1, -1)),
    "sagittal": oblique_direction(permutation=(1, 2, 0)),
    "coronal, flipped": oblique_direction(permutation=(2, 0, 1), flips=(-1, 1, -1)),
    "oblique": oblique_direction(degrees=(12, -8, 20)),
    "oblique, transposed, flipped": oblique_direction((-15, 10, -25), (1, 0, 2), (1, -1, 1)),
    "gantry tilt": oblique_direction(shear=0.25),
}


def write_dicom_series(image, folder, series="1", names=None, more_tags=()):
    """An int16 volume as one DICOM file a slice, in the order of ``names``; ``more_tags``: (tag, value)."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    for z in range(image.GetSize()[2]):
        piece = image[:, :, z]
        position = image.TransformIndexToPhysicalPoint((0, 0, z))
        tags = {
            "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
            "0008|0060": "CT",
            "0020|000d": "1.2.3.4",
            "0020|000e": f"1.2.3.4.{series}",
            "0008|0018": f"1.2.3.4.{series}.{z + 1}",
            "0020|0013": str(z + 1),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{direction[i]:.9f}" for i in (0, 3, 6, 1, 4, 7)),
            "0028|1052": "-1024",
            "0028|1053": "1",
            **dict(more_tags),
        }
        for key, value in tags.items():
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{names[z] if names else f'{z:03}'}.dcm"))
        writer.Execute(piece)


def coordinates(grid):
    """Physical x, y, z (mm, LPS) of every voxel, each (z, y, x)."""
    indices = np.indices(grid.GetSize()[::-1])[::-1].reshape(3, -1)
    matrix = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    points = matrix @ indices + np.array(grid.GetOrigin())[:, None]
    return points.reshape(3, *grid.GetSize()[::-1])


def _image(array, grid):
    image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    image.CopyInformation(grid)
    return image
