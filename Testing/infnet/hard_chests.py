"""What makes a chest CT hard for a threshold, done to a chest whose lungs are known.

Each function takes and gives a CT (HU) and its lungs (nonzero in lung), axial, in LPS.
"""

import numpy as np
import SimpleITK as sitk

AIR_HU, FAT_HU, MUSCLE_HU, BONE_HU = -1000, -90, 50, 400
CONSOLIDATION_HU, EFFUSION_HU = 40, 10
_ARM_MM, _ARM_BONE_MM = 42.0, 12.0  # radii
_PRESSED_MM = 5.0  # against the chest
_TABLE_MM, _SHELL_MM = 40.0, 4.0

voxels = sitk.GetArrayFromImage


def arms_down(ct, lungs):
    """An arm on each side of the chest, in a field of view that is wide enough for them."""
    wide = [round(2.2 * _ARM_MM / ct.GetSpacing()[0]), 0, 0]
    ct, lungs = sitk.ConstantPad(ct, wide, wide, AIR_HU), sitk.ConstantPad(lungs, wide, wide, 0)
    hu = voxels(ct)
    body = (hu > -300).any(axis=0)
    columns = np.flatnonzero(body.sum(axis=0) > 0.2 * body.sum(axis=0).max())
    row = float(np.mean(np.flatnonzero(voxels(lungs).any(axis=(0, 2)))))
    dx, dy, _ = ct.GetSpacing()
    y, x = np.indices(body.shape)
    air = hu < -300
    for column, side in ((columns[0], -1), (columns[-1], 1)):
        far = np.hypot((x - column) * dx - side * (_ARM_MM - _PRESSED_MM), (y - row) * dy)
        for radius, value in ((_ARM_MM, FAT_HU), (_ARM_MM - 6, MUSCLE_HU), (_ARM_BONE_MM, BONE_HU)):
            hu[air & (far < radius)] = value
    return _like(hu, ct), lungs


def table_in_view(ct, lungs):
    """The back lies on foam between two shells of plastic or carbon."""
    room = [0, round(2 * _TABLE_MM / ct.GetSpacing()[1]), 0]
    ct, lungs = sitk.ConstantPad(ct, [0, 0, 0], room, AIR_HU), sitk.ConstantPad(lungs, [0, 0, 0], room, 0)
    hu = voxels(ct)
    body = np.flatnonzero((hu > -300).sum(axis=(0, 2)) > 0.05 * hu.shape[0] * hu.shape[2])
    depth = (np.arange(hu.shape[1]) - body[-1]) * ct.GetSpacing()[1]
    outside = hu < -300
    for first, last, value in ((0, _TABLE_MM, -880), (0, _SHELL_MM, 150), (_TABLE_MM - _SHELL_MM, _TABLE_MM, 150)):
        rows = (depth > first) & (depth <= last)
        hu[:, rows] = np.where(outside[:, rows], value, hu[:, rows])
    return _like(hu, ct), lungs


def scan_circle(ct, lungs, floor_hu):
    """What lies outside the circle that fits into the slices is a value that no tissue has."""
    hu = voxels(ct).astype(np.int16)
    y, x = (np.linspace(-1, 1, n) for n in hu.shape[1:])
    hu[:, np.hypot(y[:, None], x) > 1] = floor_hu
    return _like(hu, ct), lungs


def thick_slices(ct, lungs, mm):
    """Slices of this thickness, each the mean of what it shows."""
    size, spacing = list(ct.GetSize()), list(ct.GetSpacing())
    fine = sitk.SmoothingRecursiveGaussian(sitk.Cast(ct, sitk.sitkFloat32), [1e-3, 1e-3, mm / 2.355])
    size[2], spacing[2] = int(size[2] * spacing[2] / mm), mm
    thick = [
        sitk.Resample(image, size, sitk.Transform(), how, ct.GetOrigin(), spacing, ct.GetDirection(), value)
        for image, how, value in ((fine, sitk.sitkLinear, AIR_HU), (lungs, sitk.sitkNearestNeighbor, 0))
    ]
    return sitk.Cast(thick[0], sitk.sitkInt16), thick[1]


def upper_half(ct, lungs):
    """The scan ends in the middle of the lungs."""
    slices = np.flatnonzero(voxels(lungs).any(axis=(1, 2)))
    middle = int(slices[0] + slices[-1]) // 2
    return ct[:, :, middle:], lungs[:, :, middle:]


def one_lung(ct, lungs):
    """A field of view on the left lung, as a small one is reconstructed."""
    middle = ct.GetSize()[0] // 2
    return ct[middle:, :, :], lungs[middle:, :, :]


def consolidation(ct, lungs, radius_mm=30.0):
    """Dense lung at the pleura: a ball around a point of the right lung's outer border, at a third of its height."""
    lesion = consolidated(lungs, radius_mm)
    return _like(np.where(lesion, CONSOLIDATION_HU, voxels(ct)), ct), lungs


def consolidated(lungs, radius_mm=30.0):
    """Where `consolidation` puts it."""
    mask = voxels(lungs) > 0
    mask[:, :, mask.shape[2] // 2 :] = False
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    z = int(slices[0] + 0.35 * (slices[-1] - slices[0]))
    rows, columns = np.nonzero(mask[z])
    outermost = np.argmax(0.5 * rows - columns)  # to the right and to the back
    place = np.array([z, rows[outermost], columns[outermost]])
    spacing = np.array(lungs.GetSpacing()[::-1])
    far = np.moveaxis(np.indices(mask.shape), 0, -1) - place
    return mask & (np.linalg.norm(far * spacing, axis=-1) < radius_mm)


def effusion(ct, lungs, depth=0.15):
    """Fluid where the lungs were lowest, the patient on the back; it is no lung."""
    fluid = effused(lungs, depth)
    return _like(np.where(fluid, EFFUSION_HU, voxels(ct)), ct), _like(np.where(fluid, 0, voxels(lungs)), lungs)


def effused(lungs, depth=0.15):
    """Where `effusion` puts it: the back ``depth`` of the lungs' extent from front to back."""
    mask = voxels(lungs) > 0
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    level = rows[-1] - depth * (rows[-1] - rows[0])
    return mask & (np.arange(mask.shape[1]) > level)[:, None]


HARD = {
    "as it is": lambda ct, lungs: (ct, lungs),
    "arms down": arms_down,
    "table in view": table_in_view,
    "-2048 HU outside the scan circle": lambda ct, lungs: scan_circle(ct, lungs, -2048),
    "-3024 HU outside the scan circle": lambda ct, lungs: scan_circle(ct, lungs, -3024),
    "arms, table and circle": lambda ct, lungs: scan_circle(*table_in_view(*arms_down(ct, lungs)), -3024),
    "slices of 8 mm": lambda ct, lungs: thick_slices(ct, lungs, 8.0),
    "upper half": upper_half,
    "left lung alone": one_lung,
    "consolidation of 30 mm radius": consolidation,
    "consolidation of 45 mm radius": lambda ct, lungs: consolidation(ct, lungs, 45.0),
    "effusion": effusion,
}
"""What is hard, by its name."""


def _like(array, image):
    result = sitk.GetImageFromArray(np.asarray(array, voxels(image).dtype))
    result.CopyInformation(image)
    return result
