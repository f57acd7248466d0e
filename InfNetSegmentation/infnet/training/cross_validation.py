"""k-fold cross-validation on labelled slices, folds kept by image id."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infnet.data.files import written_whole
from infnet.data.labelled_slices import LabelledSlice, read_fitting, read_grey, unit_range
from infnet.devices import choose_device
from infnet.evaluation.calibration import Reliability, calibrated, fit_platt_scaling
from infnet.evaluation.metrics import Metrics, dice
from infnet.reporting import Progress, silent
from infnet.training.fit import check, fit, weights_digest
from infnet.training.folds import folds_of, hold_out
from infnet.training.held_out import against, averaged, measure, write_maps
from infnet.training.model import make_model
from infnet.training.recipe import Recipe
from infnet.training.run_folder import check_claim, claim
from infnet.weights.cards import ModelCard
from infnet.weights.store import Model, save_model

_INITIAL = "initial"  # folder of what the model said that the trainings start from
_RESULTS = ("predictions", "consolidation", _INITIAL)  # that a cross-validation goes on with

Maps = dict[str, NDArray[np.floating]]
"""Probabilities of infection (H, W), by the slice's stem."""


def check_fold(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    count: int,
    index: int,
    run_folder: Path,
    device: str = "auto",
    extra: Sequence[LabelledSlice] = (),
    initial: Model | None = None,
    precision: str = "auto",
) -> None:
    """Raise what `run_fold` would before its training, and write nothing."""
    training, held_out = hold_out(slices, count, index, recipe.seed, extra)
    check_claim(run_folder, recipe, slices, _RESULTS, **_described(slices, recipe, count, initial))
    check_claim(run_folder / f"fold-{index}", recipe, training)
    if not _are_predicted(held_out, run_folder):
        check(training, recipe, device, initial, precision)


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
    ``fold-N`` gets the training's log and the fold's model, ``initial`` the predictions of the model that it started
    from. Training as by `infnet.training.fit.fit`; predictions are in float32. Raises InputError for the folder of
    another cross-validation, and where an extra slice is one of those that are to be held out.
    """
    training, held_out = hold_out(slices, count, index, recipe.seed, extra)
    claim(run_folder, recipe, slices, results=_RESULTS, **_described(slices, recipe, count, initial))
    name = f"fold-{index}"
    fold = run_folder / name
    claim(fold, recipe, training, {"held out": held_out})
    chosen = choose_device(device)
    if (
        initial is not None
        and initial.card.task == recipe.task == "infection"
        and not _are_predicted(held_out, run_folder / _INITIAL)
    ):
        write_maps(initial, held_out, chosen, run_folder / _INITIAL)
        initial.network.cpu()
    if not _are_predicted(held_out, run_folder):
        module = fit(
            training,
            recipe,
            fold / "training",
            device,
            progress,
            f"fold {index + 1}",
            initial,
            precision,
            held_out=held_out,
        )
        model = make_model(name, module, {"seconds": round(module.seconds)})
        save_model(fold / "model", model.card, model.network)
        write_maps(model, held_out, chosen, run_folder)
    # Of no more use, and gigabytes of the large networks.
    shutil.rmtree(fold / "training" / "checkpoints", ignore_errors=True)


def _described(slices: Sequence[LabelledSlice], recipe: Recipe, count: int, initial: Model | None) -> dict[str, Any]:
    """What makes a cross-validation that it is, beside slices and recipe."""
    described: dict[str, Any] = {"folds": count}
    if initial is not None:  # so that a finished fold is not taken for one that started elsewhere
        described["initial_sha256"] = weights_digest(initial.network)
    if any(s.volume for s in slices):  # else the folds follow from the slices' names
        described["split"] = folds_of(slices, count, recipe.seed)
    return described


def _are_predicted(slices: Sequence[LabelledSlice], folder: Path) -> bool:
    """Whether ``folder`` has the predictions of all slices. Raises InputError where one is damaged."""
    paths = {s.stem: folder / "predictions" / f"{s.stem}.png" for s in slices}
    if not all(path.is_file() for path in paths.values()):
        return False
    for s in slices:  # before other folds are trained, and what is measured in the end fits
        read_fitting(s, paths[s.stem], read_grey)
    return True


def summarise(
    slices: Sequence[LabelledSlice],
    recipe: Recipe,
    count: int,
    run_folder: Path,
    command: str = "",
    progress: Progress = silent,
    only_fold: int | None = None,
    initial: ModelCard | None = None,
) -> dict[str, Any]:
    """Metrics of the predictions of all folds, also written to ``run_folder/metrics.json``.

    Of ``only_fold`` alone, without the calibration, to ``run_folder/fold-N/metrics.json``. Per image, and as mean with
    its confidence interval and standard deviation over images, and over fold means.
    Infection: the metrics at 0.5 and the paper's threshold-mean Dice; how reliable the maps are; and the
    ``calibration`` that makes them so, ``temperature`` and ``offset`` of a model card (`_calibrate`). Findings: Dice of
    GGO and of consolidation, each over the images that have it, the infection being the slices' own prior, or the
    network's own where it finds both, at 0.5. ``command`` is noted as what repeats them. ``before``: the same of the
    ``initial`` model for infection, and the differences of Dice from it; whether that was trained on these slices is
    not known here.
    """
    split = folds_of(slices, count, recipe.seed)
    note = run_folder / "metrics.json"
    if only_fold is not None:
        split = [split[only_fold]]
        slices = [s for s in slices if s.stem in split[0]]
        note = run_folder / f"fold-{only_fold}" / "metrics.json"
    summary: dict[str, Any] = {"command": command, "folds": count, "only_fold": only_fold, "seed": recipe.seed}
    summary["recipe"] = recipe.as_dict()
    images = measure(slices, run_folder, recipe.task, told=progress)
    if recipe.task == "infection":
        maps = {s.stem: unit_range(read_grey(run_folder / "predictions" / f"{s.stem}.png")) for s in slices}
        truths = {s.stem: s.labels > 0 for s in slices}
        summary["reliability"] = _reliability(maps, truths)
        if len(split) > 1 and 0 < summary["reliability"]["infected_share"] < 1:
            summary["calibration"] = _calibrate(maps, truths, split, images)
    summary["metrics"] = averaged(images, split)
    if initial is not None and recipe.task == initial.task == "infection":
        summary["before"] = against(measure(slices, run_folder / _INITIAL, recipe.task), images, initial.name)
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
