"""``infnet semi-supervised``: Algorithm 1 of the paper, then the two-step training of Semi-Inf-Net."""

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from infnet.commands.train import (
    add_recipe_arguments,
    check_model_name,
    read_extra,
    recipe_from,
    require_packages,
    tell_estimate,
)
from infnet.errors import InputError
from infnet.reporting import Reporter
from infnet.training.semi_recipe import SEMI_RECIPES, SemiRecipe

NAME = "semi-supervised"
HELP = "Train on labelled and unlabelled slices; run again with the same output to go on where it stopped."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "unlabelled", type=Path, metavar="UNLABELLED_DIR", help="folder with Imgs, as of infnet prepare"
    )
    group = parser.add_argument_group("pseudo-labels", "The defaults are those of --semi-preset.")
    group.add_argument(
        "--semi-preset",
        choices=list(SEMI_RECIPES),
        default="paper",
        help="paper: the whole Algorithm 1, weeks on a CPU; small: a small part of it; default %(default)s",
    )
    group.add_argument("--k", type=int, metavar="K", help="slices that are labelled in a round")
    group.add_argument("--rounds", type=int, metavar="R", help="number of rounds; paper: until all slices are used")
    group.add_argument("--round-epochs", type=int, metavar="N", help="epochs of the fine-tuning in a round")
    group.add_argument("--pre-training-epochs", type=int, metavar="N", help="epochs on the pseudo-labels alone")
    group.add_argument(
        "--refresh",
        action=argparse.BooleanOptionalAction,
        help="label the slices of earlier rounds again in each round",
    )
    group.add_argument(
        "--hard",
        action=argparse.BooleanOptionalAction,
        help="take pseudo-labels as masks, at 0.5, rather than as probabilities",
    )
    group.add_argument(
        "--smallest-stability",
        type=float,
        metavar="S",
        help="leave out pseudo-labels whose masks at 0.25 and 0.75 have a smaller IoU; default 0, none",
    )
    group.add_argument(
        "--pseudo-labels",
        type=Path,
        metavar="DIR",
        help="use these, STEM.png of probabilities 0..255, for all slices instead of Algorithm 1 (the data set's "
        "released ones)",
    )
    group.add_argument(
        "--exclude-volumes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="volumes to leave out, named as in UNLABELLED_DIR/slices.csv",
    )
    group.add_argument(
        "--pause",
        action="store_true",
        help="stop when there are new pseudo-labels, so that they can be rejected or corrected; run again to go on",
    )
    group = parser.add_argument_group("comparison with supervised training")
    group.add_argument(
        "--hold-out-fold",
        type=int,
        metavar="I",
        help="keep fold I (0 to N-1) of the labelled slices from all training and write its predictions by the "
        "supervised and the semi-supervised model into RUN_DIR/predictions",
    )
    group.add_argument("--folds", type=int, default=5, metavar="N", help="as in infnet cross-validate; default 5")


def semi_recipe_from(options: argparse.Namespace) -> SemiRecipe:
    """The schedule with what the options change in it. Raises InputError where no training can have it."""
    schedule = SEMI_RECIPES[options.semi_preset]
    given = {name: getattr(options, name, None) for name in asdict(schedule)}
    return replace(schedule, **{name: value for name, value in given.items() if value is not None})


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.data.files import check_folder, written_whole
    from infnet.data.labelled_slices import LabelledSlice, digest, read_labelled_slices, read_slices, read_soft_truths
    from infnet.data.prepared import without_volumes
    from infnet.training.folds import check_folds, check_unlabelled, hold_out

    # Before the slow imports: all of these may be refused.
    check_folder(options.output)
    check_model_name(options.output)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("Several processes cannot share Algorithm 1; start one.")
    semi = semi_recipe_from(options)
    slices, extra = read_labelled_slices(options.data), read_extra(options)
    if options.hold_out_fold is not None:
        check_folds(slices, options.folds, options.hold_out_fold)
    unlabelled = without_volumes(read_slices(options.unlabelled), options.unlabelled, options.exclude_volumes)
    require_packages()

    import infnet
    from infnet.training.estimate import PlannedSemiSupervision
    from infnet.training.held_out import against, averaged, measure
    from infnet.training.run_folder import claim
    from infnet.training.semi_supervised import SemiSupervision
    from infnet.weights.store import save_model

    started = time.monotonic()
    recipe = recipe_from(options)
    if recipe.task != "infection":
        raise InputError(f"network {recipe.network}: it finds {recipe.task}; choose one that finds infection.")
    if recipe.network_options.get("consolidation_head") and options.pseudo_labels:
        raise InputError("--pseudo-labels do not tell the findings apart: leave them or consolidation_head out.")
    training_slices, held_out = [*slices, *extra], list[LabelledSlice]()
    if options.hold_out_fold is not None:
        training_slices, held_out = hold_out(slices, options.folds, options.hold_out_fold, recipe.seed, extra)
        check_unlabelled(held_out, unlabelled)
    labelled_by_network = len(unlabelled) if options.pseudo_labels else semi.k * semi.rounds_for(len(unlabelled))
    if min(labelled_by_network, len(unlabelled)) < 2:
        raise InputError("One slice with a pseudo-label: the pre-training needs two or more (--k, --rounds).")
    given_to_run = (training_slices, unlabelled, recipe, semi)
    if options.estimate:
        plan = PlannedSemiSupervision(*given_to_run, options.output / "planned")
        if held_out:
            plan.supervised()
        plan.two_steps(plan.ready(options.pseudo_labels) if options.pseudo_labels else plan.propagate())
        tell_estimate(plan.trainings, options, reporter, pseudo_labelled=plan.pseudo_labelled)
        return
    training = SemiSupervision(
        *given_to_run, options.output, options.device, options.precision, reporter.progress, options.pause, held_out
    )
    training.check()
    description = {
        "semi_supervision": asdict(semi),
        "pseudo_labels": "released pseudo-labels" if options.pseudo_labels else "Algorithm 1",
        "held_out": [s.stem for s in held_out],
    }
    given = read_soft_truths(unlabelled, options.pseudo_labels) if options.pseudo_labels else unlabelled
    others = {"unlabelled": given, "held out": held_out}
    of_data = {"unlabelled_sha256": digest(given)}
    claim(options.output, recipe, training.labelled, others, training.parts, **of_data, **description)

    supervised = training.supervised() if held_out else None
    pseudo_labelled = training.ready(options.pseudo_labels) if options.pseudo_labels else training.propagate()
    model = training.two_steps(pseudo_labelled)
    metrics: dict[str, Any] = {}
    if supervised is not None:
        for m in (supervised, model):
            training.predict(m)
        before, after = (measure(held_out, options.output, recipe.task, m.card.name) for m in (supervised, model))
        split = {"folds": options.folds, "only_fold": options.hold_out_fold, "seed": recipe.seed}
        metrics = {"command": options.command_line, **split, "metrics": averaged(after, [list(after)])}
        compared = {"images": after, "before": against(before, after, supervised.card.name)}
        with written_whole(options.output / "metrics.json") as temporary:
            text = json.dumps({**metrics, "recipe": recipe.as_dict(), **compared}, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")
    more = {
        **description,
        "held_out": len(held_out),
        "command": options.command_line,
        "infnet": infnet.__version__,
        "slices": len(training.labelled),
        "slices_sha256": digest(training.labelled),  # not their names, which may be patients'
        "pseudo_labelled_slices": len(pseudo_labelled),
        "excluded_volumes": options.exclude_volumes,
        "seconds": round(time.monotonic() - started),  # of this call, the last one where there were several
    }
    training_told = {**model.card.training, **more}
    card = replace(model.card, name=options.output.resolve().name, training=training_told, metrics=metrics)
    card = save_model(options.output / "model", card, model.network)
    path = options.output / "model" / f"{card.name}.json"
    payload = {"output": str(path), "slices": len(training.labelled), "pseudo_labelled_slices": len(pseudo_labelled)}
    told = f"{len(training.labelled)} labelled and {len(pseudo_labelled)} pseudo-labelled slices: {path}"
    reporter.result(payload, told)
