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
from infnet.data.labelled_slices import find_images, read_grey, read_labelled_slices
from infnet.evaluation.metrics import dice
from scipy.ndimage import gaussian_filter

THRESHOLDS = np.arange(4, 256, 4)
HALF = 128
SMOOTHING = 1 / 150  # of the slice's height


def findings_dice(infected, consolidation, labels):
    """Of ground glass and of consolidation; NaN for what the labels lack."""
    masks = (infected & ~consolidation, infected & consolidation)
    return [dice(m, labels == i) if (labels == i).any() else np.nan for i, m in enumerate(masks, start=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--truth", type=Path, required=True, metavar="DATA")
    options = parser.parse_args()
    slices = {s.stem: s for s in read_labelled_slices(options.truth)}
    paths = [path for run in options.runs for path in find_images(run / "predictions")]
    infection, network, grey, reader = [], [], [], []
    for path in paths:
        image, labels = slices[path.stem].image, slices[path.stem].labels
        map_, probability = read_grey(path), read_grey(path.parents[1] / "consolidation" / path.name)
        infected, called = map_ >= HALF, probability >= HALF
        infection.append([dice(map_ >= t, labels > 0) for t in (HALF, *THRESHOLDS)])
        smooth = gaussian_filter(image.astype(float), SMOOTHING * len(image))
        network.append([findings_dice(infected, probability >= t, labels) for t in (HALF, *THRESHOLDS)])
        grey.append([findings_dice(infected, smooth >= t, labels) for t in THRESHOLDS])
        reader.append(findings_dice(infected, np.where(labels > 0, labels == 2, called), labels))

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
