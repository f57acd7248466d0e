"""``infnet cross-validate``: how good a recipe is on slices it has not seen."""

import argparse
import os

from infnet.commands.train import (
    add_recipe_arguments,
    add_supervised_arguments,
    read_extra,
    recipe_from,
    require_packages,
    tell_estimate,
)
from infnet.errors import InputError
from infnet.reporting import Reporter

NAME = "cross-validate"
HELP = "Cross-validate a training recipe on labelled slices."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    add_supervised_arguments(parser)
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="number of folds (default 5)")
    parser.add_argument("--only-fold", type=int, metavar="K", help="run fold K (0 to N-1) alone, for runs side by side")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.data.files import check_folder
    from infnet.data.labelled_slices import read_labelled_slices
    from infnet.training.folds import check_folds
    from infnet.weights.cards import find_card

    # Before the slow imports: all of these may be refused.
    check_folder(options.output)
    slices = read_labelled_slices(options.data, options.priors)
    if options.initial:
        find_card(options.initial)
    check_folds(slices, options.folds, options.only_fold)
    chosen = range(options.folds) if options.only_fold is None else [options.only_fold]
    parts = [f"fold-{index}/{part}" for index in chosen for part in ("training/checkpoints", "training/log", "model")]
    for part in ("predictions", "consolidation", "initial/predictions", *parts):
        check_folder(options.output / part)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("Several processes cannot share a fold; give each a fold of its own (--only-fold).")
    require_packages()

    from infnet.training.cross_validation import check_fold, run_fold, summarise
    from infnet.training.estimate import Training
    from infnet.training.folds import hold_out
    from infnet.weights.store import load_model

    recipe = recipe_from(options, options.task)
    initial = load_model(options.initial) if options.initial else None

    def training(index: int) -> Training:
        extra = read_extra(options, index)
        return Training(f"fold {index + 1}", hold_out(slices, options.folds, index, recipe.seed, extra)[0], recipe)

    if options.estimate:
        tell_estimate([training(index) for index in chosen], options, reporter, initial)
        return
    given = (slices, recipe, options.folds)
    for index in chosen:  # may be refused too; when a fold's turn comes, hours have passed
        extra = read_extra(options, index)
        check_fold(*given, index, options.output, options.device, extra, initial, options.precision)
    for index in chosen:
        run_fold(
            *given,
            index,
            options.output,
            options.device,
            reporter.progress,
            read_extra(options, index),
            initial,
            options.precision,
        )
    summary = summarise(
        slices,
        recipe,
        options.folds,
        options.output,
        options.command_line,
        reporter.progress,
        options.only_fold,
        None if initial is None else initial.card,
    )
    lines = [
        f"{name}: {m['mean']:.3f} (SD {m['sd_over_images']:.3f} over {m['images']} images, "
        f"{m['sd_over_folds']:.3f} over {len(chosen)} fold(s))"
        for name, m in summary["metrics"].items()
        if m["mean"] is not None
    ]
    if "calibration" in summary:
        errors = [of["reliability"]["expected_calibration_error"] for of in (summary, summary["calibration"])]
        lines.append("expected calibration error: {:.3f}, calibrated on other folds {:.3f}".format(*errors))
    path = options.output / ("" if options.only_fold is None else f"fold-{options.only_fold}") / "metrics.json"
    reporter.result({"output": str(path), "metrics": summary["metrics"]}, "\n".join([*lines, str(path)]))
