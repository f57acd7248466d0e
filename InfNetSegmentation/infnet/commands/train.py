"""``infnet train``: train a model on labelled slices."""

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from infnet.commands.arguments import add_device_argument
from infnet.errors import InputError
from infnet.reporting import Reporter
from infnet.training.recipe import Recipe

NAME = "train"
HELP = "Train a model on labelled slices; run again with the same output to go on from its last checkpoint."


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that make a `Recipe`, with its defaults, and where data and output are."""
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="folder with Imgs/*.jpg and GT/*.png")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN_DIR", help="run folder")
    parser.add_argument("--task", choices=["infection", "findings"], help="what the model shall find; %(default)s")
    parser.add_argument(
        "--priors", type=Path, metavar="DIR", help="for findings: infection maps STEM.png (default: the truth)"
    )
    parser.add_argument("--encoder", help="of Inf-Net: efficientnet_lite0, vgg16 or res2net50; default %(default)s")
    parser.add_argument("--encoder-weights", choices=["imagenet", "none"], help="default %(default)s")
    for option, kind, explanation in (
        ("--base-channels", int, "of the multi-class U-Net (the paper's code: 64); "),
        ("--epochs", int, ""),
        ("--batch-size", int, ""),
        ("--learning-rate", float, "the largest of the one-cycle schedule; "),
        ("--size", int, "side of the square that slices are resized to, in pixels; "),
        ("--seed", int, ""),
    ):
        parser.add_argument(option, type=kind, metavar="N", help=f"{explanation}default %(default)s")
    add_device_argument(parser)
    parser.set_defaults(**{field.name: field.default for field in fields(Recipe)})


def recipe_from(options: argparse.Namespace) -> Recipe:
    """The recipe that the options describe. Raises InputError where no training can have it."""
    return Recipe(**{field.name: getattr(options, field.name) for field in fields(Recipe)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="take name, summary, licence and limits from this model card"
    )
    parser.add_argument(
        "--metrics", type=Path, metavar="FILE", help="metrics.json of infnet cross-validate, for the model card"
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from dataclasses import replace

    import infnet
    from infnet.data.labelled_slices import read_labelled_slices
    from infnet.weights.cards import read_card

    # Before the slow imports: all of these may be refused.
    slices = read_labelled_slices(options.data, options.priors)
    like = read_card(options.card) if options.card else None
    metrics = _read_metrics(options.metrics) if options.metrics else {}

    from infnet.training.fit import fit
    from infnet.training.model import make_model
    from infnet.weights.store import save_model

    started = time.monotonic()
    module = fit(slices, recipe_from(options), options.output, options.device, reporter.progress)
    training = {
        "command": options.command_line,
        "infnet": infnet.__version__,
        "slices": [s.stem for s in slices],
        "seconds": round(time.monotonic() - started),
    }
    model = make_model(options.output.resolve().name, module, training)
    card = replace(model.card, metrics=metrics)
    if like is not None:
        card = replace(card, name=like.name, summary=like.summary, licence=like.licence, limits=like.limits)
    card = save_model(options.output / "model", card, model.network)
    path = options.output / "model" / f"{card.name}.json"
    reporter.result({"output": str(path), **training}, f"Trained in {training['seconds']} s: {path}")


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {key: values[key] for key in ("command", "folds", "seed", "metrics")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not the metrics.json of infnet cross-validate ({error}).") from error
