"""The evaluation of a folder of predictions against its ground truth."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from infnet.errors import InputError
from infnet.evaluation.calibration import Reliability
from infnet.evaluation.metrics import Metrics, paper_metrics, threshold_metrics
from infnet.evaluation.pairs import Pairs
from infnet.evaluation.resizing import imresize
from infnet.evaluation.slices import are_label_images, read_slices
from infnet.evaluation.statistics import summarise
from infnet.evaluation.volumes import geometric_metrics, read_volumes
from infnet.reporting import Progress, silent

Protocol = Literal["paper", "threshold"]


@dataclass
class Evaluation:
    """What was measured, image by image.

    images - metrics by the image's name
    with_finding - names of the images whose truth has the finding
    both_empty - names of those where neither truth nor prediction (at the threshold) has it
    resized - names of the slices whose prediction was resized to the truth's size
    reliability - of all pixels
    """

    images: dict[str, Metrics] = field(default_factory=dict)
    with_finding: list[str] = field(default_factory=list)
    both_empty: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    reliability: Reliability = field(default_factory=Reliability)

    def add(
        self,
        name: str,
        metrics: Metrics,
        probability: NDArray[np.floating],
        truth: NDArray[np.bool_],
        threshold: float,
    ) -> None:
        """Note an image's metrics, and what its map in [0, 1] and its truth tell beside them."""
        self.images[name] = metrics
        self.reliability.add(probability, truth)
        if truth.any():
            self.with_finding.append(name)
        elif not (probability >= threshold).any():
            self.both_empty.append(name)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: ``mean`` and ``confidence`` (95 %) over all images, the same ``with_finding``, and ``images``."""
        with_finding = [self.images[name] for name in self.with_finding]
        return {
            **summarise(list(self.images.values())),
            "with_finding": summarise(with_finding) if with_finding else None,
            "both_empty": len(self.both_empty),
            "resized": len(self.resized),
            "predictions_are": "probabilities" if self.reliability.has_probabilities else "labels",
            "images": self.images,
        }


def evaluate(
    pairs: Pairs,
    protocol: Protocol = "threshold",
    threshold: float = 0.5,
    finding: int | None = None,
    progress: Progress = silent,
    stage: str = "images",
) -> Evaluation:
    """Measure every pair. ``finding``: the label that counts, or any if None.

    Raises `InputError` for an image that cannot be used, and for the paper's protocol on volumes.
    """
    if pairs.are_volumes and protocol == "paper":
        raise InputError("The paper's protocol is for slices; volumes are evaluated at a threshold.")
    labels = not pairs.are_volumes and are_label_images(pair.prediction for pair in pairs.pairs)
    evaluation = Evaluation()
    progress(stage, 0, len(pairs.pairs))
    for done, pair in enumerate(pairs.pairs, start=1):
        if pairs.are_volumes:
            probability: NDArray[np.floating]
            probability, truth, grid = read_volumes(pair, finding)
            metrics = threshold_metrics(probability, truth, threshold)
            metrics |= geometric_metrics(probability >= threshold, truth, grid)
        else:
            map_, truth = read_slices(pair, labels, finding)
            if map_.shape != truth.shape:
                evaluation.resized.append(pair.name)
                map_ = imresize(map_, truth.shape)
            probability = map_ / 255
            metrics = (
                paper_metrics(map_, truth) if protocol == "paper" else threshold_metrics(probability, truth, threshold)
            )
        evaluation.add(pair.name, metrics, probability, truth, threshold)
        progress(stage, done, len(pairs.pairs))
    return evaluation
