"""Agreement of an infection map with a mask, image by image."""

import numpy as np
from numpy.typing import NDArray
from py_sod_metrics import FmeasureV2
from py_sod_metrics.fmeasurev2 import DICEHandler


def dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice similarity 2|P∩G| / (|P|+|G|) in [0, 1] of two masks of one shape; 1 where both are empty."""
    size = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / size if size else 1.0


def threshold_mean_dice(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The paper's Dice: the mean over 256 thresholds of the map scaled to its minimum and maximum, as 8-bit."""
    metric = FmeasureV2(metric_handlers={"dice": DICEHandler(with_dynamic=True, with_adaptive=False)})
    metric.step((probability * 255).round().astype(np.uint8), truth.astype(np.uint8) * 255)
    return float(metric.get_results()["dice"]["dynamic"].mean())
