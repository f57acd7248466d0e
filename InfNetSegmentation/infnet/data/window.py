"""The HU window under which CT slices look like given 8-bit training slices.

COVID-SemiSeg's slices have no HU. Run on its labelled slices and some chest CTs, this module finds the window::

    python -m infnet.data.window COVID-SemiSeg/labelled/Imgs CT...
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

_RANKS = (np.arange(500) + 0.5) / 500


@dataclass(frozen=True)
class WindowFit:
    """``low`` and ``high`` in HU are shown as grey 0 and 255; ``distance`` is what then remains, in grey levels."""

    low: float
    high: float
    distance: float


def fit_window(greys: Iterable[ArrayLike], crops: Iterable[ArrayLike]) -> WindowFit:
    """The window that brings the grey levels of CT crops (HU) nearest to those of training slices (8-bit).

    Nearest by the Wasserstein-1 distance of the pooled distributions, every slice with the same weight. Both have to
    show the same: slices cropped to the lungs, chests with about as much lung in them.
    """
    grey = _quantiles(greys)
    hu = _quantiles(crops)

    def distance(window: NDArray[np.float64]) -> float:
        low, width = window
        return float(np.abs(((hu - low) / width * 255).clip(0, 255) - grey).mean())

    best = minimize(distance, x0=(-1200.0, 1400.0), method="Nelder-Mead")
    low, width = best.x
    return WindowFit(float(low), float(low + width), float(best.fun))


def _quantiles(images: Iterable[ArrayLike]) -> NDArray[np.float64]:
    """Quantiles of the values of all images, each image with the same weight."""
    by_image = [np.quantile(np.asarray(image), _RANKS) for image in images]
    return np.asarray(np.quantile(np.concatenate(by_image), _RANKS))


def main() -> None:
    """Fit and print the window of each CT, and that of all together."""
    from infnet.anatomy.envelope import lung_envelope
    from infnet.anatomy.lungs import segment_lungs
    from infnet.data.labelled_slices import find_images, read_grey
    from infnet.data.orientation import AxialView
    from infnet.data.volumes import read_ct
    from infnet.inference.slices import SliceLook

    parser = argparse.ArgumentParser(prog="python -m infnet.data.window", description=__doc__)
    parser.add_argument("slices", type=Path, help="folder of 8-bit training slices")
    parser.add_argument("cts", type=Path, nargs="+", metavar="CT")
    options = parser.parse_args()

    greys = [read_grey(path) for path in find_images(options.slices)]
    all_crops = []
    for path in options.cts:
        ct, _ = read_ct(path)
        view = AxialView(ct)
        hu = view.array()
        envelope = lung_envelope(AxialView(segment_lungs(ct)).array(), view.spacing)
        boxes = SliceLook().crops(envelope)
        # Few training slices are of apex or base.
        largest = max((envelope[z] > 0).sum() for z in boxes)
        crops = [hu[z][box] for z, box in boxes.items() if (envelope[z] > 0).sum() > 0.5 * largest]
        all_crops += crops[:: max(1, len(crops) // 30)]  # about as many of each CT
        print(path.name, fit_window(greys, crops))
    print("all", fit_window(greys, all_crops))


if __name__ == "__main__":
    main()
