"""What a model says of slices that it has not seen, and how well that agrees with their truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from infnet.data.files import written_whole
from infnet.data.labelled_slices import LabelledSlice, Slice, eight_bit, read_fitting, read_grey, unit_range
from infnet.errors import OutputError
from infnet.evaluation.metrics import Metrics, dice, threshold_mean_dice, threshold_metrics
from infnet.evaluation.statistics import compare, summarise
from infnet.inference.predictor import consolidation_probability, predict_infection, resize, stack
from infnet.reporting import Progress, silent
from infnet.weights.store import Model

Maps = dict[str, NDArray[np.uint8]]
"""What a model says of a slice (H, W), 0..255, by the folder that it belongs in: "predictions" is the probability of
infection or, by a model for findings, of consolidation within the slice's own infection; "consolidation" is that of an
infection model that tells the findings apart."""


def predict(model: Model, slice_: Slice, device: torch.device) -> Maps:
    """The maps of a model, whose network moves to ``device``, in float32; "predictions" comes last.

    Of a model for findings, ``slice_`` is a `LabelledSlice`, whose prior, or else whose truth, says where infection is.
    """
    size = model.card.input_size
    image = stack([unit_range(slice_.image)], size)
    if model.card.task == "infection":
        answer = predict_infection(model, image, str(device))
        consolidation = {} if answer.consolidation is None else {"consolidation": answer.consolidation}
        maps = {**consolidation, "predictions": answer.infection}
    else:
        assert isinstance(slice_, LabelledSlice)
        prior = (slice_.labels > 0).astype(np.float32) if slice_.prior is None else unit_range(slice_.prior)
        maps = {"predictions": consolidation_probability(model, image, stack([prior], size), str(device))}
    return {name: eight_bit(resize(map_[0], slice_.image.shape)) for name, map_ in maps.items()}


def dice_of(slice_: LabelledSlice, maps: Maps, task: str) -> Metrics:
    """``dice`` of the infection at 0.5, and ``ggo_dice`` and ``consolidation_dice`` where the findings are told apart.

    The latter are None where the truth lacks the finding; the infection is then the network's own, at 0.5, or for the
    task of findings the slice's prior.
    """
    found: Metrics = {}
    predictions = maps["predictions"] >= 128
    if task == "infection":
        infected = predictions
        found["dice"] = dice(infected, slice_.labels > 0)
        if "consolidation" not in maps:
            return found
        consolidation = maps["consolidation"] >= 128
    else:
        infected = slice_.labels > 0 if slice_.prior is None else slice_.prior >= 128
        consolidation = predictions
    for name, value in (("ggo_dice", 1), ("consolidation_dice", 2)):
        is_it = infected & (consolidation == (value == 2))
        truth = slice_.labels == value
        found[name] = dice(is_it, truth) if truth.any() else None
    return found


def write_maps(model: Model, slices: Sequence[LabelledSlice], device: torch.device, folder: Path, of: str = "") -> None:
    """Write the maps of each slice as ``folder/predictions/STEM.png`` and, if there is one, the same of consolidation.

    ``of`` is a folder more in between, such as the model's name. Raises OutputError.
    """
    for s in slices:
        for name, map_ in predict(model, s, device).items():
            try:
                (folder / name / of).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{folder / name / of}: cannot be made ({error.strerror}).") from error
            with written_whole(folder / name / of / f"{s.stem}.png") as temporary:
                Image.fromarray(map_).save(temporary)


def measure(
    slices: Sequence[LabelledSlice], folder: Path, task: str, of: str = "", told: Progress = silent
) -> dict[str, Metrics]:
    """The metrics of each slice's maps in ``folder`` (`write_maps`), by its stem.

    Of infection: those at 0.5, and the paper's threshold-mean Dice; in either task, those of `dice_of`.
    """
    images: dict[str, Metrics] = {}
    for done, s in enumerate(slices, start=1):
        maps = {
            name: read_fitting(s, folder / name / of / f"{s.stem}.png", read_grey)
            for name in ("predictions", "consolidation")
            if name == "predictions" or (folder / name / of / f"{s.stem}.png").is_file()
        }
        images[s.stem] = {}
        if task == "infection":
            probability, truth = unit_range(maps["predictions"]), s.labels > 0
            images[s.stem] |= threshold_metrics(probability, truth)
            images[s.stem]["threshold_mean_dice"] = threshold_mean_dice(probability, truth)
        images[s.stem] |= dice_of(s, maps, task)
        told("metrics", done, len(slices))
    return images


def averaged(images: Mapping[str, Metrics], split: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Of every metric its mean over images with its confidence interval and deviation, and over the means of folds."""
    over_images = summarise(list(images.values()))
    metrics = {}
    for name, mean in over_images["mean"].items():
        in_folds = [[v for stem in fold if (v := images[stem][name]) is not None] for fold in split]
        over_folds = [float(np.mean(values)) for values in in_folds if values]
        values = [value for values in in_folds for value in values]
        metrics[name] = {
            "mean": mean,
            "confidence": over_images["confidence"][name],
            "sd_over_images": _deviation(values),
            "fold_means": over_folds,
            "sd_over_folds": _deviation(over_folds),
            "images": len(values),
        }
    return metrics


def against(before: Mapping[str, Metrics], after: Mapping[str, Metrics], name: str) -> dict[str, Any]:
    """The metrics of the model called ``name`` on the same images, and the differences of Dice from it.

    Of the metrics, those that ``after`` has too: where it does not tell the findings apart, the truth may not either.
    """
    before = {stem: {key: m[key] for key in m if key in after[stem]} for stem, m in before.items()}
    difference = compare([after[stem] for stem in before], list(before.values()))
    return {"name": name, "metrics": averaged(before, [list(before)]), "images": before, "dice_difference": difference}


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
