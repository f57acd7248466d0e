"""k-fold cross-validation on labelled slices, folds kept by image id."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from infnet.data.files import written_whole
from infnet.data.labelled_slices import LabelledSlice, digest, eight_bit, read_grey, unit_range
from infnet.devices import choose_device
from infnet.errors import InputError
from infnet.evaluation.metrics import dice, threshold_mean_dice
from infnet.inference.predictor import consolidation_probability, predict_infection, resize, stack
from infnet.reporting import Progress, silent
from infnet.training.fit import fit
from infnet.training.model import make_model
from infnet.training.recipe import Recipe
from infnet.training.run_folder import claim
from infnet.weights.store import Model


def folds(stems: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """``stems`` dealt into ``count`` folds of equal size (to one), at random from ``seed``."""
    order = np.random.default_rng(seed).permutation(sorted(stems))
    return [sorted(map(str, fold)) for fold in np.array_split(order, count)]


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
    Training as by `infnet.training.fit.fit`; predictions are in float32. Raises InputError for the folder of another
    cross-validation, and where an extra slice is one of those that are to be held out.
    """
    held_images = {s.image.tobytes() for s in slices}
    for s in extra:
        if s.image.tobytes() in held_images:
            raise InputError(f"{s.stem}: an extra slice that is also one of those to be held out; leave it out.")
    claim(run_folder, recipe, slices, folds=count, extra={"slices": len(extra), "sha256": digest(extra)})
    held_out = set(folds([s.stem for s in slices], count, recipe.seed)[index])
    if all((run_folder / "predictions" / f"{stem}.png").is_file() for stem in held_out):
        return
    training = [*(s for s in slices if s.stem not in held_out), *extra]
    name = f"fold-{index}"
    module = fit(training, recipe, run_folder / name, device, progress, f"fold {index + 1}", initial, precision)
    chosen = choose_device(device)
    model = make_model(name, module)
    model.network.to(chosen)
    for s in slices:
        if s.stem in held_out:
            for folder, map_ in _predict(model, s, chosen).items():
                (run_folder / folder).mkdir(parents=True, exist_ok=True)
                with written_whole(run_folder / folder / f"{s.stem}.png") as temporary:
                    Image.fromarray(eight_bit(resize(map_[0].cpu(), s.image.shape))).save(temporary)


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
    slices: Sequence[LabelledSlice], recipe: Recipe, count: int, run_folder: Path, command: str = ""
) -> dict[str, Any]:
    """Metrics of the predictions of all folds, also written to ``run_folder/metrics.json``.

    Per image, and as mean and standard deviation over images and over fold means. Infection: Dice at 0.5 and
    the paper's threshold-mean Dice. Findings: Dice of GGO and of consolidation, each over the images that have
    it, the infection being the slices' own prior, or the network's own where it finds both, at 0.5. ``command`` is
    noted as what repeats them.
    """
    images: dict[str, dict[str, float]] = {}
    for s in slices:
        images[s.stem] = values = {}
        map_ = unit_range(read_grey(run_folder / "predictions" / f"{s.stem}.png"))
        if recipe.task == "infection":
            infected = map_ >= 0.5
            values["dice"] = dice(infected, s.labels > 0)
            values["threshold_mean_dice"] = threshold_mean_dice(map_, s.labels > 0)
            told_apart = run_folder / "consolidation" / f"{s.stem}.png"
            if not told_apart.is_file():
                continue
            map_ = unit_range(read_grey(told_apart))
        else:
            infected = s.labels > 0 if s.prior is None else s.prior >= 128
        found = np.where(infected, np.where(map_ > 0.5, 2, 1), 0)
        for name, value in (("ggo_dice", 1), ("consolidation_dice", 2)):
            if (s.labels == value).any():
                values[name] = dice(found == value, s.labels == value)
    split = folds([s.stem for s in slices], count, recipe.seed)
    summary: dict[str, Any] = {
        "command": command,
        "folds": count,
        "seed": recipe.seed,
        "recipe": recipe.as_dict(),
        "metrics": {},
    }
    for name in sorted({name for values in images.values() for name in values}):
        over_images = [values[name] for values in images.values() if name in values]
        in_folds = [[images[stem][name] for stem in fold if name in images[stem]] for fold in split]
        over_folds = [float(np.mean(values)) for values in in_folds if values]
        summary["metrics"][name] = {
            "mean": float(np.mean(over_images)),
            "sd_over_images": _deviation(over_images),
            "fold_means": over_folds,
            "sd_over_folds": _deviation(over_folds),
            "images": len(over_images),
        }
    summary["images"] = images
    with written_whole(run_folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
