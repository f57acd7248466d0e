"""How good held-out maps would be with each slice's own best threshold, which nobody knows: a bound for any threshold.

``python Testing/infnet/own_best.py RUN… --truth DATA``: RUN is a folder of ``infnet cross-validate``, with a network
that tells the findings apart; DATA has Imgs and GT, label images. Printed are means over slices of the Dice of the
infection and, within the infection found at 0.5, of ground glass and consolidation. Those are told apart by the
network's probability, by the grey value alone (smoothed a little), and by the reader, who leaves what was found falsely
to the finding that it was called. The best threshold is that of the highest sum of both Dice.
"""

import argparse
from pathlib import Path

import numpy as np
from infnet.data.findings import CONSOLIDATION
from infnet.data.labelled_slices import find_images, read_grey, read_labelled_slices
from infnet.evaluation.metrics import dice
from infnet.training.held_out import dice_of
from scipy.ndimage import gaussian_filter

THRESHOLDS = np.arange(4, 256, 4)
HALF = 128
SMOOTHING = 1 / 150  # of the slice's height


def findings_dice(slice_, map_, is_consolidation):
    """Of ground glass and of consolidation, (2,); NaN for what the truth lacks."""
    found = dice_of(slice_, {"predictions": map_, "consolidation": np.where(is_consolidation, 255, 0)}, "infection")
    return np.array([found["ggo_dice"], found["consolidation_dice"]], float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--truth", type=Path, required=True, metavar="DATA")
    options = parser.parse_args()
    slices = {s.stem: s for s in read_labelled_slices(options.truth)}
    paths = [path for run in options.runs for path in find_images(run / "predictions")]
    infection, network, grey, reader = [], [], [], []
    for path in paths:
        slice_ = slices[path.stem]
        map_, probability = read_grey(path), read_grey(path.parents[1] / "consolidation" / path.name)
        smooth = gaussian_filter(slice_.image.astype(float), SMOOTHING * len(slice_.image))
        by_reader = np.where(slice_.labels > 0, slice_.labels == CONSOLIDATION.label, probability >= HALF)
        infection.append([dice(map_ >= t, slice_.labels > 0) for t in (HALF, *THRESHOLDS)])
        network.append([findings_dice(slice_, map_, probability >= t) for t in (HALF, *THRESHOLDS)])
        grey.append([findings_dice(slice_, map_, smooth >= t) for t in THRESHOLDS])
        reader.append(findings_dice(slice_, map_, by_reader))

    of_all = np.nanmean(grey, axis=0)
    for name, means in {
        "infection at 0.5": [np.mean(infection, axis=0)[0]],
        "infection, own best threshold": [np.max(infection, axis=1).mean()],
        "findings at 0.5": np.nanmean(network, axis=0)[0],
        "findings, own best threshold": own_best(network),
        "findings by the grey value, one threshold for all": of_all[of_all.sum(axis=1).argmax()],
        "findings by the grey value, own best threshold": own_best(grey),
        "findings by the reader": np.nanmean(reader, axis=0),
    }.items():
        print(f"{name}: {'  '.join(f'{mean:.3f}' for mean in means)}  ({len(paths)} slices)")


def own_best(dice_of_thresholds):
    """Means over slices; ``dice_of_thresholds`` (slices, thresholds, 2)."""
    return np.nanmean([max(of_one, key=np.nansum) for of_one in dice_of_thresholds], axis=0)


if __name__ == "__main__":
    main()
