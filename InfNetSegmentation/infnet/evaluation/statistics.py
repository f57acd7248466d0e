"""Means over images with bootstrap confidence intervals, and two methods compared on the same images."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from infnet.evaluation.metrics import Metrics

_RESAMPLES = 5000
_INTERVAL = (2.5, 97.5)  # percentiles of the 95 % confidence interval
_DECIMALS = 12  # of a difference; beyond them, equal ones differ by rounding alone, and would have different ranks


class Summary(TypedDict):
    """Per metric: the mean over the images where it is defined, and its 95 % confidence interval.

    None: a mean of nothing, an interval of fewer than two images.
    """

    mean: dict[str, float | None]
    confidence: dict[str, list[float] | None]
    count: int


class Comparison(TypedDict):
    """Dice of the first method less that of the second, over images.

    wilcoxon_p - two-sided p-value of Wilcoxon's signed-rank test; 1 where all images are equal
    """

    mean: float
    confidence: list[float] | None
    wilcoxon_p: float
    better: int
    worse: int
    equal: int


def summarise(images: Sequence[Metrics], seed: int = 0) -> Summary:
    """The mean of every metric over ``images``, which have the same ones, with percentile bootstrap over images."""
    names = list(images[0])
    values = np.array([[image[name] for name in names] for image in images], float)  # None becomes NaN
    means = _means(values, np.ones((1, len(values))))[0]
    return Summary(
        mean={name: None if np.isnan(mean) else float(mean) for name, mean in zip(names, means, strict=True)},
        confidence=dict(zip(names, _confidence(values, seed), strict=True)),
        count=len(images),
    )


def compare(first: Sequence[Metrics], second: Sequence[Metrics], seed: int = 0) -> Comparison:
    """The paired comparison of two methods' Dice on the same images, in the same order."""
    one, other = (np.array([image["dice"] for image in images], float) for images in (first, second))
    difference = (one - other).round(_DECIMALS)
    return Comparison(
        mean=float(difference.mean()),
        confidence=_confidence(difference[:, None], seed)[0],
        wilcoxon_p=float(wilcoxon(difference).pvalue) if difference.any() else 1.0,
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        equal=int((difference == 0).sum()),
    )


def _confidence(values: NDArray[np.float64], seed: int) -> list[list[float] | None]:
    """The interval of each column's mean over rows; None with fewer than two values."""
    count = len(values)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    enough = (~np.isnan(values)).sum(axis=0) > 1
    means = _means(values, weights).T
    return [np.nanpercentile(m, _INTERVAL).tolist() if known else None for m, known in zip(means, enough, strict=True)]


def _means(values: NDArray[np.float64], weights: NDArray[np.number]) -> NDArray[np.float64]:
    """Weighted means over rows, one a row of ``weights`` and a column of ``values``; NaN values count for nothing."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = weights @ np.where(defined, values, 0) / (weights @ defined)
    return means
