"""Agreement of one infection map with its truth: by the paper's protocol, and at one threshold."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from py_sod_metrics import (
    DICEHandler,
    Emeasure,
    FmeasureV2,
    PrecisionHandler,
    RecallHandler,
    Smeasure,
    SpecificityHandler,
)

from infnet.data.labelled_slices import eight_bit

METRICS = ("dice", "sensitivity", "specificity", "precision", "s_measure", "e_measure", "mae")
"""What `paper_metrics` and `threshold_metrics` measure, in [0, 1]; the best is 1, but 0 of the mean absolute error."""

Metrics = dict[str, float | None]
"""A value for each of `METRICS`; None where it is not defined."""


def dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice similarity 2|P∩G| / (|P|+|G|) in [0, 1] of two masks of one shape; 1 where both are empty."""
    size = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / size if size else 1.0


def threshold_mean_dice(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The paper's Dice of a map in [0, 1]: `paper_metrics` of the map as 8-bit."""
    return float(_curves(_scaled(eight_bit(probability)), truth)["dice"].mean())


def paper_metrics(map_: NDArray[np.uint8], truth: NDArray[np.bool_]) -> Metrics:
    """The metrics of a map (H, W) of 0..255 as the MATLAB tool of Fan et al., IEEE TMI 2020, computes them.

    The map is scaled to its minimum and maximum. Dice, sensitivity, specificity, precision and E-measure are means over
    the thresholds 0, 1/255, …, 1 (pixel ≥ threshold), S-measure (α = 0.5) and mean absolute error are the scaled map's.
    Where no infected pixel is found, and so always where the truth is empty, the first four are 0.
    """
    scaled = _scaled(map_)
    curves = _curves(scaled, truth)
    curves["specificity"][curves["sensitivity"] == 0] = 0
    counted: Metrics = {name: float(curve.mean()) for name, curve in curves.items()}
    return counted | {
        "s_measure": _s_measure(scaled, truth),
        "e_measure": _mean_e_measure(scaled, truth),
        "mae": float(np.abs(scaled - truth).mean()),
    }


def threshold_metrics(probability: NDArray[np.floating], truth: NDArray[np.bool_], threshold: float = 0.5) -> Metrics:
    """The metrics of a map in [0, 1], of any number of dimensions, as it is; the first four at one threshold.

    Infected is what is ≥ ``threshold``. Dice is 1 where prediction and truth are both empty. None: sensitivity of an
    empty truth, specificity of a full one, precision of an empty prediction. The E-measure is the mean over 256
    thresholds, as in the paper.
    """
    found = probability >= threshold
    positives, hits, finds = (int(np.count_nonzero(mask)) for mask in (truth, found & truth, found))
    negatives = truth.size - positives
    counted: Metrics = {
        "dice": 2 * hits / (positives + finds) if positives + finds else 1.0,
        "sensitivity": hits / positives if positives else None,
        "specificity": 1 - (finds - hits) / negatives if negatives else None,
        "precision": hits / finds if finds else None,
    }
    return counted | {
        "s_measure": _s_measure(probability, truth),
        "e_measure": _mean_e_measure(probability, truth),
        "mae": float(np.abs(probability - truth).mean()),
    }


def _scaled(map_: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A map of 0..255 scaled to its minimum and maximum, or a constant one to [0, 1] only.

    Differences of whole numbers, divided once: twice, and pixels equal to a threshold may miss it by rounding.
    """
    low, high = int(map_.min()), int(map_.max())
    return map_ / 255 if low == high else (map_ - float(low)) / (high - low)


def _curves(map_: NDArray[np.floating], truth: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Dice, sensitivity, specificity and precision at 256 thresholds, each 0 where it is 0/0."""
    handlers = {
        "dice": DICEHandler,
        "sensitivity": RecallHandler,
        "specificity": SpecificityHandler,
        "precision": PrecisionHandler,
    }
    metric = FmeasureV2({name: make(with_dynamic=True, with_adaptive=False) for name, make in handlers.items()})
    metric.step(map_, truth, normalize=False)
    return {name: result["dynamic"] for name, result in metric.get_results().items()}


def _mean_e_measure(map_: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The mean of the E-measure at 256 thresholds."""
    measure = Emeasure()
    measure.step(_row(map_), _row(truth), normalize=False)
    return float(measure.changeable_ems[0].mean())


def _s_measure(map_: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """pysodmetrics' S-measure (α = 0.5) with the quadrants of the MATLAB tool, in any number of dimensions.

    A centroid midway between two pixels is rounded up, where pysodmetrics rounds to even, and a quadrant without pixels
    counts for nothing, where both make the measure NaN. A volume has octants.
    """
    measure = Smeasure()
    if truth.all() or not truth.any():
        return float(measure.cal_sm(map_, truth))
    # One more than the centroid's index: the centroid belongs to the first quadrant.
    middle = (int(np.floor(indices.mean() + 1.5)) for indices in np.nonzero(truth))
    parts = [part for part in product(*((slice(None, m), slice(m, None)) for m in middle)) if truth[part].size]
    region = sum(measure.ssim(_row(map_[part]), _row(truth[part])) * truth[part].size / truth.size for part in parts)
    return float(max(0.0, (measure.object(map_, truth) + region) / 2))


def _row(array: NDArray[Any]) -> NDArray[Any]:
    """What pysodmetrics counts pixel by pixel, wherever they are, in the two dimensions that it expects."""
    return array.reshape(1, -1)
