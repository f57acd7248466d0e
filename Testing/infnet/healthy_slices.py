"""Writes the healthy slices that the shipped models were trained on beside the labelled ones.

``python Testing/infnet/healthy_slices.py DATA -o DIR`` takes from DATA ``lungs/slices_53.npz`` (slices with lung masks)
and a whole CT of a patient without pneumonia, ``ct/popi-chest-ct/popi_phase00_512x512x141.nrrd``, every third slice.
What shows disease (chosen by eye: atelectasis, a tumour) or no lung is left out.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from infnet.anatomy.envelope import lung_envelope
from infnet.anatomy.lungs import segment_lungs
from infnet.data.labelled_slices import eight_bit
from infnet.data.orientation import AxialView
from infnet.data.volumes import read_ct
from infnet.inference.slices import SliceLook
from numpy.typing import NDArray
from PIL import Image

LOOK = SliceLook()
DISEASED = (4, 10, 15, 27, 46, 50)
UPSIDE_DOWN = (13,)
TUMOUR = range(24, 28)  # of every third slice


def single_slices(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    data = np.load(path)
    for i, (hu, mask) in enumerate(zip(data["images"], data["masks"], strict=True)):
        if i in DISEASED:
            continue
        if i in UPSIDE_DOWN:
            hu, mask = hu[::-1], mask[::-1]
        crop = LOOK.crops((mask > 0).astype(np.uint8)[None])[0]
        yield f"lungs53-{i:02d}", eight_bit(LOOK.render(hu[crop]))


def slices_of(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    ct, _ = read_ct(path)
    view = AxialView(ct)
    hu = view.array()
    crops = LOOK.crops(lung_envelope(AxialView(segment_lungs(ct)).array(), view.spacing))
    for i, z in enumerate(sorted(crops)[2::3]):
        if i not in TUMOUR:
            yield f"popi-{z:03d}", eight_bit(LOOK.render(hu[z][crops[z]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    for name in ("Imgs", "GT"):
        (options.output / name).mkdir(parents=True, exist_ok=True)
    for source in (
        single_slices(options.data / "lungs" / "slices_53.npz"),
        slices_of(options.data / "ct" / "popi-chest-ct" / "popi_phase00_512x512x141.nrrd"),
    ):
        for stem, grey in source:
            Image.fromarray(grey).save(options.output / "Imgs" / f"{stem}.png")
            Image.fromarray(np.zeros_like(grey)).save(options.output / "GT" / f"{stem}.png")


if __name__ == "__main__":
    main()
