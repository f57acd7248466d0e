"""Dice of the lung mask on the development data, the worst case first: ``python Testing/infnet/lung_dice.py``.

With ``--hard``, of the two volumes with what makes a CT hard (`hard_chests.HARD`) instead.
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from overlap import dice

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "InfNetSegmentation"))
LUNGS = REPOSITORY.parent / "shared" / "data" / "lungs"


def cases():
    """Name, CT and true mask of the 53 slices and the two volumes. The slices' spacing is not known."""
    with np.load(LUNGS / "slices_53.npz") as data:
        for i, (hu, mask) in enumerate(zip(data["images"], data["masks"], strict=True)):
            ct = sitk.GetImageFromArray(hu[None])
            ct.SetSpacing((0.7, 0.7, 5))
            yield f"slice {i}", ct, mask[None] > 0
    for name in ("id001", "id002"):
        mask = sitk.GetArrayFromImage(sitk.ReadImage(LUNGS / f"{name}_lung.nii.gz"))
        yield name, sitk.ReadImage(LUNGS / f"{name}_ct.nii.gz"), mask > 0


def hard_cases():
    """The same of the two volumes, each made hard in every way."""
    from hard_chests import HARD

    for name in ("id001", "id002"):
        images = (sitk.ReadImage(LUNGS / f"{name}_{kind}.nii.gz") for kind in ("ct", "lung"))
        ct, mask = (sitk.DICOMOrient(image, "LPS") for image in images)
        for hardship, make in HARD.items():
            hard, truth = make(ct, mask)
            yield f"{name}, {hardship}", hard, sitk.GetArrayFromImage(truth) > 0


def main():
    from infnet.anatomy.lungs import segment_lungs

    hard = sys.argv[1:] == ["--hard"]
    chosen = hard_cases() if hard else cases()
    scores = {name: dice(sitk.GetArrayFromImage(segment_lungs(ct)) > 0, mask) for name, ct, mask in chosen}
    for name, score in sorted(scores.items(), key=lambda item: item[1]):
        print(f"{name:<{44 if hard else 10}}{score:.3f}")
    if hard:
        return
    slices = [score for name, score in scores.items() if name.startswith("slice")]
    print(f"slices: mean {np.mean(slices):.4f}, worst {min(slices):.3f}")


if __name__ == "__main__":
    main()
