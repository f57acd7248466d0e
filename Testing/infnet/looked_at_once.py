"""What is lost where a slice in which the network sees next to nothing is looked at once, not in four mirror images.

    python Testing/infnet/looked_at_once.py SLICES [--every-second]
    python Testing/infnet/looked_at_once.py CT…

SLICES is a folder of grey images, CT a chest CT in HU. For each bound on the highest probability of the first look:
the slices below it, which would be looked at once; how many of the slices that are infected by the mean of four looks
are among them, and how much of their infection.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from infnet.anatomy.envelope import lung_envelope
from infnet.anatomy.lungs import segment_lungs
from infnet.data.labelled_slices import find_images, read_grey, unit_range
from infnet.data.orientation import AxialView
from infnet.data.volumes import read_ct
from infnet.inference import mirror_images
from infnet.inference.predictor import stack
from infnet.inference.runtimes import choose_runtime, make_runtime
from infnet.inference.slices import FloatSlice, SliceLook
from infnet.weights.cards import DEFAULT_MODELS
from infnet.weights.stored import read_model

BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def slices_of(path: Path, every_second: bool) -> Iterator[FloatSlice]:
    """The images of a folder, or the axial slices of a CT with lung, as the networks see them."""
    if path.is_dir():
        images = sorted(find_images(path))
        yield from (unit_range(read_grey(file)) for file in (images[1::2] if every_second else images))
        return
    ct, _ = read_ct(path)
    look, view, lungs = SliceLook(), AxialView(ct), AxialView(segment_lungs(ct))
    for z, box in look.crops(lung_envelope(lungs.voxels, view.spacing)).items():
        yield look.render(view.voxels[z][box])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--every-second", action="store_true", help="those that the shipped model was not trained on")
    options = parser.parse_args()
    model = read_model(DEFAULT_MODELS["infection"])
    ask = make_runtime(choose_runtime("auto", "cpu"), model, "cpu")
    mirror_images.MIRRORED_FROM = 0.0  # all four looks at each
    for path in options.paths:
        first, infected = [], []
        for slice_ in slices_of(path, options.every_second):
            image = stack([slice_], model.card.input_size)
            first.append(ask(image).infection.max())
            mean = mirror_images.mean_over_mirror_images(ask, image, model.card)[0].infection
            infected.append(np.count_nonzero(mean >= model.card.threshold))
        sure, pixels = np.array(first), np.array(infected)
        print(f"{path}: {len(sure)} slices, {np.count_nonzero(pixels)} infected")
        for bound in BOUNDS:
            once = sure < bound
            lost = np.count_nonzero(pixels[once])
            share = pixels[once].sum() / max(pixels.sum(), 1)
            print(f"below {bound}: {once.sum()} looked at once, {lost} infected ones lost, {share:.3%} of their pixels")


if __name__ == "__main__":
    main()
