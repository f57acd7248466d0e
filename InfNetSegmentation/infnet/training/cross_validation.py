"""k-fold cross-validation on labelled slices, folds kept by image id."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infnet.data.labelled_slices import LabelledSlice, read_grey, unit_range
from infnet.evaluation.metrics import dice, threshold_mean_dice
from infnet.inference.predictor import consolidation_probability, infection_probability, resize, stack
from infnet.reporting import Progress, silent
from infnet.training.fit import fit
from infnet.training.model import make_model
from infnet.training.recipe import Recipe
from infnet.training.run_folder import claim


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
) -> None:
    """Train on all folds but one and predict that one into ``run_folder/predictions/STEM.png``, 0..255.

    For the infection task the prediction is the infection probability; for findings, the probability of
    consolidation given infection, with the slices' own priors. A fold predicted already is left alone. Raises
    InputError for the folder of another cross-validation.
    """
    claim(run_folder, recipe, slices, folds=count)
    held_out = folds([s.stem for s in slices], count, recipe.seed)[index]
    predictions = run_folder / "predictions"
    if all((predictions / f"{stem}.png").is_file() for stem in held_out):
        return
    training = [s for s in slices if s.stem not in held_out]
    fold_folder = run_folder / f"fold-{index}"
    module = fit(training, recipe, fold_folder, device, progress, f"fold {index + 1}")
    model = make_model(f"fold-{index}", module)
    predictions.mkdir(parents=True, exist_ok=True)
    for s in slices:
        if s.stem not in held_out:
            continue
        image = stack([unit_range(s.image)], recipe.size)
        if recipe.task == "infection":
            answer = infection_probability(model, image)
        else:
            prior = (s.labels > 0).astype(np.float32) if s.prior is None else unit_range(s.prior)
            answer = consolidation_probability(model, image, stack([prior], recipe.size))
        map_ = resize(answer[0], s.image.shape)
        Image.fromarray((map_ * 255).round().astype(np.uint8)).save(predictions / f"{s.stem}.png")


def summarise(
    slices: Sequence[LabelledSlice], recipe: Recipe, count: int, run_folder: Path, command: str = ""
) -> dict[str, Any]:
    """Metrics of the predictions of all folds, also written to ``run_folder/metrics.json``.

    Per image, and as mean and standard deviation over images and over fold means. Infection: Dice at 0.5 and
    the paper's threshold-mean Dice. Findings: Dice of GGO and of consolidation, each over the images that have
    it, the infection being the slices' own prior at 0.5. ``command`` is noted as what repeats them.
    """
    images: dict[str, dict[str, float]] = {}
    for s in slices:
        map_ = unit_range(read_grey(run_folder / "predictions" / f"{s.stem}.png"))
        if recipe.task == "infection":
            images[s.stem] = {
                "dice": dice(map_ >= 0.5, s.labels > 0),
                "threshold_mean_dice": threshold_mean_dice(map_, s.labels > 0),
            }
        else:
            infected = s.labels > 0 if s.prior is None else s.prior >= 128
            found = np.where(infected, np.where(map_ > 0.5, 2, 1), 0)
            images[s.stem] = {
                name: dice(found == value, s.labels == value)
                for name, value in (("ggo_dice", 1), ("consolidation_dice", 2))
                if (s.labels == value).any()
            }
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
        over_folds = [float(np.mean([images[stem][name] for stem in fold if name in images[stem]])) for fold in split]
        summary["metrics"][name] = {
            "mean": float(np.mean(over_images)),
            "sd_over_images": float(np.std(over_images, ddof=1)),
            "fold_means": over_folds,
            "sd_over_folds": float(np.std(over_folds, ddof=1)),
            "images": len(over_images),
        }
    summary["images"] = images
    (run_folder / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary
