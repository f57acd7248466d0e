"""Whether a probability means what it says (reliability curve and scores), and the scaling by which it does."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from infnet.errors import InputError

_BINS = 10
_EXTREME = 0.25 / 255  # 8-bit maps know no probability nearer to 0 or 1; a quarter of a grey level stands for those
_TEMPERATURES = (0.05, 20.0)


@dataclass
class Reliability:
    """The reliability curve of infection maps, over all pixels added so far.

    ``pixels`` (256, 2): how many healthy and infected pixels have each probability, in steps of 1/255.
    """

    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros((256, 2), np.int64))

    def add(self, probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> None:
        """Count the pixels (voxels) of a map in [0, 1] of any shape."""
        for part, infected in zip(probability, truth, strict=True):  # row by row: indices of a whole CT take gigabytes
            levels = (part * 255).round().astype(np.intp)
            self.pixels += np.bincount((2 * levels + infected).ravel(), minlength=512).reshape(256, 2)

    @property
    def has_probabilities(self) -> bool:
        """Whether a pixel has a probability other than 0 and 1, as maps have, and masks and labels have not."""
        return bool(self.pixels[1:-1].any())

    def as_dict(self) -> dict[str, Any]:
        """Bins of equal width with pixels in them, and the scores. Raises InputError where no pixel was added.

        ``expected_calibration_error``: mean over pixels of their bin's |mean probability − observed frequency|
        (Naeini et al., AAAI 2015). ``brier``: mean squared difference of probability and truth. Both in [0, 1], best 0.
        """
        by_level, total = self.pixels.sum(axis=1), int(self.pixels.sum())
        if not total:
            raise InputError("No pixel to calibrate with.")
        probability = np.arange(256) / 255
        in_bin = np.minimum(np.arange(256) * _BINS // 255, _BINS - 1)
        bins, error = [], 0.0
        for index in range(_BINS):
            inside = in_bin == index
            if not (count := int(by_level[inside].sum())):
                continue
            predicted = float(probability[inside] @ by_level[inside] / count)
            observed = float(self.pixels[inside, 1].sum() / count)
            error += count / total * abs(predicted - observed)
            bins.append(
                {
                    "from": index / _BINS,
                    "to": (index + 1) / _BINS,
                    "pixels": count,
                    "mean_probability": predicted,
                    "observed_frequency": observed,
                }
            )
        squares = (probability[:, None] - [0, 1]) ** 2
        return {
            "bins": bins,
            "expected_calibration_error": error,
            "brier": float((self.pixels * squares).sum() / total),
            "infected_share": float(self.pixels[:, 1].sum() / total),
            "pixels": total,
        }


def fit_platt_scaling(
    probabilities: Iterable[NDArray[np.floating]], truths: Iterable[NDArray[np.bool_]]
) -> tuple[float, float]:
    """The temperature and the offset with which `calibrated` maps fit the truths best (Platt, 1999).

    Best is the likelihood of all pixels. Maps in [0, 1] and masks of the same shapes, of images that the model has not
    been trained on. The temperature, 0.05 to 20, is above 1 where the maps are too sure; the offset is below 0 where
    they are too high. Raises InputError unless there are both infected and healthy pixels.
    """
    likelihood = _Likelihood(probabilities, truths)
    fitted = minimize(
        lambda x: likelihood.loss(float(np.exp(x[0])), x[1]), (0.0, 0.0), bounds=[np.log(_TEMPERATURES), (None, None)]
    )
    log_temperature, offset = fitted.x
    return float(np.exp(log_temperature)), float(offset)


def calibrated(probability: NDArray[np.floating], temperature: float, offset: float) -> NDArray[np.float64]:
    """sigmoid(logit(p) / temperature + offset) of a map in [0, 1], as a model card with these values has it."""
    scaled: NDArray[np.float64] = expit(_logit(probability) / temperature + offset)
    return scaled


class _Likelihood:
    """How likely the truths are under maps whose logits are scaled and shifted."""

    def __init__(self, probabilities: Iterable[NDArray[np.floating]], truths: Iterable[NDArray[np.bool_]]) -> None:
        infected = np.concatenate([truth.ravel() for truth in truths])
        if infected.all() or not infected.any():
            raise InputError("Calibration needs pixels that are infected and pixels that are not.")
        values, index = np.unique(np.concatenate([map_.ravel() for map_ in probabilities]), return_inverse=True)
        self._logits = _logit(values)
        self._infected = np.bincount(index, infected, len(values)) / infected.size
        self._healthy = np.bincount(index, ~infected, len(values)) / infected.size

    def loss(self, temperature: float, offset: float) -> float:
        """The mean negative log-likelihood of a pixel of the calibrated maps."""
        logits = self._logits / temperature + offset
        return float(self._infected @ np.logaddexp(0, -logits) + self._healthy @ np.logaddexp(0, logits))


def _logit(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = logit(probability.astype(np.float64).clip(_EXTREME, 1 - _EXTREME))
    return logits
