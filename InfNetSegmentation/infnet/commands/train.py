"""``infnet train``: train a model on labelled slices."""

import argparse
import ast
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infnet.commands.arguments import add_device_argument, add_precision_argument
from infnet.data.files import check_folder, read_json
from infnet.errors import InputError, MissingPackageError, OutputError
from infnet.reporting import Reporter
from infnet.training.recipe import CHOICES, PRESETS, Recipe, Task, preset

if TYPE_CHECKING:
    from infnet.data.labelled_slices import LabelledSlice, Slice
    from infnet.training.estimate import Training
    from infnet.weights.store import Model

NAME = "train"
HELP = "Train a model on labelled slices; run again with the same output to go on from its last checkpoint."


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Where data and output are, and the options that make a `Recipe`."""
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="folder with Imgs/STEM.jpg or .png and GT/STEM.png")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN_DIR", help="run folder")
    parser.add_argument(
        "--estimate", action="store_true", help="time a few steps, tell what the run will take, and write nothing"
    )
    parser.add_argument(
        "--extra",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="more slices to train on, healthy (GT all black) or pseudo-labelled (Soft); can be given again; in a "
        "cross-validation, {fold} becomes the fold's number",
    )
    recipe = parser.add_argument_group(
        "recipe", "The preset sets everything; each other option changes one thing of it."
    )
    recipe.add_argument(
        "--preset", choices=PRESETS, default="modern", help="ours, or as in Fan et al., 2020; default %(default)s"
    )
    recipe.add_argument("--network", metavar="NAME", help="see infnet networks")
    recipe.add_argument(
        "--network-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the network (docs/networks.md); can be given again",
    )
    recipe.add_argument("--encoder", help="the same as --network-option encoder=…")
    recipe.add_argument("--base-channels", type=int, metavar="N", help="the same as --network-option base_channels=N")
    explanations = {
        "loss": "paper-released-code: as paper, but BCE without weights; for findings, BCE of sigmoids"
        " instead of cross-entropy",
        "schedule": "paper-released-code: from epoch 50 on, every epoch divides the learning rate by ten",
        "multi_scale": "random: each batch at one of the scales; all: each batch at every scale, one step each",
        "encoder_weights": "first weights of the encoder of Inf-Net or FCN8s; imagenet is downloaded if no installed"
        " package has it",
    }
    for name, choices in CHOICES.items():
        recipe.add_argument(_option(name), choices=choices, help=explanations.get(name))
    for name, kind, explanation in (
        ("epochs", int, "how often each labelled slice is seen"),
        ("batch_size", int, "slices in a step, of all devices together"),
        ("learning_rate", float, "the largest of the schedule"),
        ("weight_decay", float, "of the optimizer"),
        ("momentum", float, "of the optimizer sgd"),
        ("gradient_clip", float, "keep every element of the gradient within ±N; 0: no limit"),
        (
            "ema_decay",
            float,
            "decay a step of the moving average of the weights, which is then the result; 0: no average",
        ),
        (
            "soft_share",
            float,
            "pseudo-labelled slices in an epoch, as a share of the labelled, infected ones; default: all",
        ),
        ("healthy_share", float, "healthy slices in an epoch, as a share of all other slices"),
        ("synthetic_lesions", float, "share of the healthy slices that lesions are painted into"),
        ("size", int, "side of the square that slices are resized to, in pixels"),
        ("seed", int, "decides order, augmentation, first weights and folds"),
    ):
        recipe.add_argument(_option(name), type=kind, metavar="N", help=explanation)
    recipe.add_argument("--scales", type=float, nargs="+", metavar="N", help="multiples of the size")
    recipe.add_argument("--augmentation", action=argparse.BooleanOptionalAction, help="augment the training slices")
    add_device_argument(parser, "--accelerator")
    add_precision_argument(parser, "auto")


def add_supervised_arguments(parser: argparse.ArgumentParser) -> None:
    """What only training on labels alone can choose: the task, and what it starts from."""
    parser.add_argument("--task", choices=["infection", "findings"], help="what to find; default infection")
    parser.add_argument(
        "--priors", type=Path, metavar="DIR", help="for findings: infection maps STEM.png (default: the truth)"
    )
    parser.add_argument("--initial", metavar="MODEL", help="start from the weights of this model (name or path)")


def recipe_from(options: argparse.Namespace, task: Task | None = None) -> Recipe:
    """The recipe that the options describe, of the ``task`` or else the network's.

    Raises InputError where no training can have it.
    """
    changes = {f.name: getattr(options, f.name) for f in fields(Recipe) if getattr(options, f.name, None) is not None}
    if "scales" in changes:
        changes["scales"] = tuple(changes["scales"])
    finds: Task = task or "infection"
    if options.network is not None:
        from infnet.networks import NETWORKS

        if options.network in NETWORKS:
            finds = NETWORKS[options.network].task
            if task not in (None, finds):
                raise InputError(f"network {options.network}: it finds {finds}, not {task}.")
    recipe = preset(options.preset, finds, **changes)
    network_options = dict(_name_and_value(text) for text in options.network_option)
    for name in ("encoder", "base_channels"):
        if (value := getattr(options, name)) is not None:
            network_options[name] = value
    return replace(recipe, network_options={**recipe.network_options, **network_options})


def read_extra(options: argparse.Namespace, fold: int | None = None) -> "list[LabelledSlice]":
    """The slices of every ``--extra``; of a cross-validation's ``fold``, its own. Raises InputError."""
    from infnet.data.labelled_slices import read_labelled_slices

    folders = (
        options.extra if fold is None else [Path(str(path).replace("{fold}", str(fold))) for path in options.extra]
    )
    return [s for folder in folders for s in read_labelled_slices(folder)]


def check_model_name(output: Path) -> None:
    """Raise OutputError where the model of a run could not be called as its folder."""
    from infnet.weights.cards import is_model_name

    if not is_model_name(output.resolve().name):
        raise OutputError(f"{output}: the model is called as its folder; give that a shorter name.")


def require_packages() -> None:
    """Raise MissingPackageError where a package that every training needs is not installed."""
    for package in ("lightning", "py_sod_metrics"):
        if find_spec(package) is None:
            raise MissingPackageError(f"Training needs the package {package}: pip install lightning pysodmetrics.")


def tell_estimate(
    trainings: "Sequence[Training]",
    options: argparse.Namespace,
    reporter: Reporter,
    initial: "Model | None" = None,
    pseudo_labelled: "Sequence[Slice]" = (),
) -> None:
    """The answer to ``--estimate`` (`infnet.training.estimate.estimate`)."""
    from infnet.training.estimate import estimate

    found = estimate(
        trainings, options.output, options.device, options.precision, initial, pseudo_labelled, reporter.progress
    )
    reporter.result(found.as_dict(), str(found))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    add_supervised_arguments(parser)
    parser.add_argument(
        "--devices", type=int, default=1, metavar="N", help="devices to train on, one process each; default %(default)s"
    )
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="take name, summary, licence and limits from this model card"
    )
    parser.add_argument(
        "--metrics",
        type=Path,
        metavar="FILE",
        help="metrics.json of infnet cross-validate, for the model card",
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="apply the calibration of --metrics to what the model predicts"
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    import infnet
    from infnet.data.labelled_slices import digest, read_labelled_slices
    from infnet.weights.cards import find_card, read_card

    # Before the slow imports: all of these may be refused.
    for part in ("", "checkpoints", "log", "model"):
        check_folder(options.output / part)
    check_model_name(options.output)
    slices = read_labelled_slices(options.data, options.priors)
    extra = read_extra(options)
    like = read_card(options.card) if options.card else None
    if options.initial:
        find_card(options.initial)
    recipe = recipe_from(options, options.task)
    metrics = _read_metrics(options.metrics, recipe) if options.metrics else {}
    if options.calibrate and "calibration" not in metrics:
        raise InputError("--calibrate needs --metrics of a cross-validation for infection.")
    require_packages()

    from infnet.training.estimate import Training
    from infnet.training.fit import fit
    from infnet.training.model import make_model
    from infnet.training.run_folder import is_first_process
    from infnet.weights.store import load_model, save_model

    initial = load_model(options.initial) if options.initial else None
    if options.estimate:
        tell_estimate([Training("training", [*slices, *extra], recipe)], options, reporter, initial)
        return
    module = fit(
        [*slices, *extra],
        recipe,
        options.output,
        options.device,
        reporter.progress,
        initial=initial,
        precision=options.precision,
        devices=options.devices,
    )
    if not is_first_process():
        return
    training = {
        "command": options.command_line,
        "infnet": infnet.__version__,
        "slices": len(slices),
        "slices_sha256": digest(slices),  # not their names, which may be patients'
        "extra": len(extra),
        "seconds": round(module.seconds),
    }
    model = make_model(options.output.resolve().name, module, training)
    calibration = {key: metrics["calibration"][key] for key in ("temperature", "offset") if options.calibrate}
    card = replace(model.card, metrics=metrics, **calibration)
    if like is not None:
        card = replace(card, name=like.name, summary=like.summary, licence=like.licence, limits=like.limits)
    card = save_model(options.output / "model", card, model.network)
    path = options.output / "model" / f"{card.name}.json"
    reporter.result({"output": str(path), **training}, f"Trained in {training['seconds']} s: {path}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name_and_value(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise InputError(f"network option {text}: write NAME=VALUE.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, {"true": True, "false": False}.get(value.lower(), value)


def _read_metrics(path: Path, recipe: Recipe) -> dict[str, Any]:
    """What a model card says of a cross-validation. Raises InputError for another file, or another recipe."""
    try:
        values = read_json(path)
        found = {key: values[key] for key in ("command", "folds", "seed", "metrics")}
        validated = dict(values["recipe"])
        told = values.get("calibration", {"temperature": 1, "offset": 0})
        temperature, offset = (told[name] + 0.0 for name in ("temperature", "offset"))  # text is no number
        if not (0 < temperature < math.inf and math.isfinite(offset)):
            raise ValueError("no calibration can have these numbers")
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"{path}: not the metrics.json of infnet cross-validate ({error}).") from error
    own = recipe.as_dict()
    if differing := ", ".join(name for name in own if name != "seed" and validated.get(name) != own[name]):
        raise InputError(f"{path}: of another recipe ({differing}); give the options that it was validated with.")
    more = ("only_fold", "reliability", "calibration")
    return {**found, **{key: values[key] for key in more if key in values}}
