"""k-fold cross-validation on labelled slices, folds kept by image id."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from infnet.data.files import written_whole
from infnet.data.labelled_slices import LabelledSlice, eight_bit, read_grey, unit_range
from infnet.devices import choose_device
from infnet.evaluation.calibration import Reliability, calibrated, fit_platt_scaling
from infnet.evaluation.metrics import Metrics, dice, threshold_mean_dice, threshold_metrics
from infnet.evaluation.statistics import summarise as means
from infnet.inference.predictor import consolidation_probability, predict_infection, resize, stack
from infnet.reporting import Progress, silent
from infnet.training.fit import fit, weights_digest
from infnet.training.folds import folds_of, hold_out
from infnet.training.model import make_model
from infnet.training.recipe import Recipe
from infnet.training.run_folder import claim
from infnet.weights.store import Model, save_model

Maps = dict[str, NDArray[np.floating]]
"""Probabilities of infection (H, W), by the slice's stem."""


def run_fold(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    count: int,
    index: int,
    run_folder: Path,
    device: str = "auto",
    progress: Progress = silent,
    extra: Sequence[LabelledSlice] = (),
    initial: Model | None = None,
    precision: str = "auto",
) -> None:
    """Train on all folds but one, and on ``extra``, and predict that one into ``run_folder``, as 0..255.

    For the infection task, ``predictions/STEM.png`` is the infection probability and ``consolidation/STEM.png``, if the
    network tells the findings apart, the probability of consolidation given infection. For findings,
    ``predictions/STEM.png`` is the latter, with the slices' own priors. A fold predicted already is left alone.
    ``fold-N`` gets the training's log and the fold's model. Training as by `infnet.training.fit.fit`; predictions are
    in float32. Raises InputError for the folder of another cross-validation, and where an extra slice is one of those
    that are to be held out.
    """
    training, held_out = hold_out(slices, count, index, recipe.seed, extra)
    # Noted where there is one, so that a finished fold is not taken for one that started elsewhere.
    start = {} if initial is None else {"initial_sha256": weights_digest(initial.network)}
    claim(run_folder, recipe, slices, folds=count, **start)
    name = f"fold-{index}"
    fold = run_folder / name
    claim(fold, recipe, training)
    if all((run_folder / "predictions" / f"{s.stem}.png").is_file() for s in held_out):
        return
    module = fit(training, recipe, fold / "training", device, progress, f"fold {index + 1}", initial, precision)
    chosen = choose_device(device)
    model = make_model(name, module, {"seconds": round(module.seconds)})
    save_model(fold / "model", model.card, model.network)
    model.network.to(chosen)
    for s in held_out:
        for folder, map_ in _predict(model, s, chosen).items():
            (run_folder / folder).mkdir(parents=True, exist_ok=True)
            with written_whole(run_folder / folder / f"{s.stem}.png") as temporary:
                Image.fromarray(eight_bit(resize(map_[0].cpu(), s.image.shape))).save(temporary)
    shutil.rmtree(fold / "training" / "checkpoints")  # of no more use, and gigabytes of the large networks


def _predict(model: Model, slice_: LabelledSlice, device: torch.device) -> dict[str, torch.Tensor]:
    """Maps (1, 1, S, S) by the folder that they belong in; the one that tells that a slice is done comes last."""
    size = model.card.input_size
    image = stack([unit_range(slice_.image)], size).to(device)
    if model.card.task == "infection":
        answer = predict_infection(model, image)
        consolidation = {} if answer.consolidation is None else {"consolidation": answer.consolidation}
        return {**consolidation, "predictions": answer.infection}
    prior = (slice_.labels > 0).astype(np.float32) if slice_.prior is None else unit_range(slice_.prior)
    return {"predictions": consolidation_probability(model, image, stack([prior], size).to(device))}


def summarise(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    count: int,
    run_folder: Path,
    command: str = "",
    progress: Progress = silent,
    only_fold: int | None = None,
) -> dict[str, Any]:
    """Metrics of the predictions of all folds, also written to ``run_folder/metrics.json``.

    Of ``only_fold`` alone, without the calibration, to ``run_folder/fold-N/metrics.json``. Per image, and as mean with
    its confidence interval and standard deviation over images, and over fold means.
    Infection: the metrics at 0.5 and the paper's threshold-mean Dice; how reliable the maps are; and the
    ``calibration`` that makes them so, ``temperature`` and ``offset`` of a model card (`_calibrate`). Findings: Dice of
    GGO and of consolidation, each over the images that have it, the infection being the slices' own prior, or the
    network's own where it finds both, at 0.5. ``command`` is noted as what repeats them.
    """
    split = folds_of(slices, count, recipe.seed)
    note = run_folder / "metrics.json"
    if only_fold is not None:
        split = [split[only_fold]]
        slices = [s for s in slices if s.stem in split[0]]
        note = run_folder / f"fold-{only_fold}" / "metrics.json"
    images: dict[str, Metrics] = {s.stem: {} for s in slices}
    summary: dict[str, Any] = {"command": command, "folds": count, "seed": recipe.seed, "recipe": recipe.as_dict()}
    if recipe.task == "infection":
        maps = {s.stem: _read(run_folder / "predictions", s.stem) for s in slices}
        truths = {s.stem: s.labels > 0 for s in slices}
        for done, (stem, map_) in enumerate(maps.items(), start=1):
            images[stem] |= threshold_metrics(map_, truths[stem])
            images[stem]["threshold_mean_dice"] = threshold_mean_dice(map_, truths[stem])
            progress("metrics", done, len(maps))
        summary["reliability"] = _reliability(maps, truths)
        if len(split) > 1 and 0 < summary["reliability"]["infected_share"] < 1:
            summary["calibration"] = _calibrate(maps, truths, split, images)
    for s in slices:
        if recipe.task == "infection":
            if not (run_folder / "consolidation" / f"{s.stem}.png").is_file():
                continue
            infected, consolidation = maps[s.stem] >= 0.5, _read(run_folder / "consolidation", s.stem)
        else:
            infected = s.labels > 0 if s.prior is None else s.prior >= 128
            consolidation = _read(run_folder / "predictions", s.stem)
        found = np.where(infected, np.where(consolidation > 0.5, 2, 1), 0)
        for name, value in (("ggo_dice", 1), ("consolidation_dice", 2)):
            has_it = (s.labels == value).any()
            images[s.stem][name] = dice(found == value, s.labels == value) if has_it else None
    over_images = means(list(images.values()))
    summary["metrics"] = {}
    for name, mean in over_images["mean"].items():
        in_folds = [[v for stem in fold if (v := images[stem][name]) is not None] for fold in split]
        over_folds = [float(np.mean(values)) for values in in_folds if values]
        values = [value for values in in_folds for value in values]
        summary["metrics"][name] = {
            "mean": mean,
            "confidence": over_images["confidence"][name],
            "sd_over_images": _deviation(values),
            "fold_means": over_folds,
            "sd_over_folds": _deviation(over_folds),
            "images": len(values),
        }
    summary["images"] = images
    with written_whole(note) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _calibrate(
    maps: Maps, truths: Mapping[str, NDArray[np.bool_]], split: Sequence[Sequence[str]], images: dict[str, Metrics]
) -> dict[str, Any]:
    """``temperature`` and ``offset`` fitted on all maps, and the ``reliability`` of maps calibrated by other folds.

    The Dice of the latter becomes each image's ``calibrated_dice``: that which the calibrated model is to have at 0.5.
    """

    def fitted(stems: Sequence[str]) -> tuple[float, float]:
        return fit_platt_scaling([maps[stem] for stem in stems], [truths[stem] for stem in stems])

    by_others: Maps = {}
    for fold in split:
        scale = fitted([stem for stem in maps if stem not in fold])
        by_others |= {stem: calibrated(maps[stem], *scale) for stem in fold}
    for stem, map_ in by_others.items():
        images[stem]["calibrated_dice"] = dice(map_ >= 0.5, truths[stem])
    temperature, offset = fitted(list(maps))
    return {"temperature": temperature, "offset": offset, "reliability": _reliability(by_others, truths)}


def _reliability(maps: Maps, truths: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
    reliability = Reliability()
    for stem, map_ in maps.items():
        reliability.add(map_, truths[stem])
    return reliability.as_dict()


def _read(folder: Path, stem: str) -> NDArray[np.float32]:
    return unit_range(read_grey(folder / f"{stem}.png"))


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
