"""``infnet train``: train a model on labelled slices."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from infnet.commands.arguments import add_device_argument
from infnet.reporting import Reporter

if TYPE_CHECKING:
    from infnet.training.recipe import Recipe

NAME = "train"
HELP = "Train a model on labelled slices; run again with the same output to go on from its last checkpoint."


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that make a `Recipe`, and where data and output are."""
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="folder with Imgs/*.jpg and GT/*.png")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN_DIR", help="run folder")
    parser.add_argument(
        "--task", choices=["infection", "findings"], default="infection", help="what the model shall find"
    )
    parser.add_argument(
        "--priors",
        type=Path,
        metavar="DIR",
        help="for findings: infection maps STEM.png (default: the truth)",
    )
    parser.add_argument("--encoder", default="efficientnet_lite0", help="of Inf-Net: %(default)s, vgg16, res2net50")
    parser.add_argument("--encoder-weights", choices=["imagenet", "none"], default="imagenet")
    parser.add_argument(
        "--base-channels",
        type=int,
        default=32,
        metavar="N",
        help="of the multi-class U-Net (paper's code: 64)",
    )
    parser.add_argument("--epochs", type=int, default=60, metavar="N", help="default %(default)s")
    parser.add_argument("--batch-size", type=int, default=10, metavar="N", help="default %(default)s")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="R", help="default %(default)s")
    parser.add_argument("--size", type=int, default=352, metavar="N", help="pixels; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default %(default)s")
    add_device_argument(parser)


def recipe_from(options: argparse.Namespace) -> "Recipe":
    """The recipe that the options describe."""
    from infnet.training.recipe import Recipe

    return Recipe(
        task=options.task,
        encoder=options.encoder,
        encoder_weights=options.encoder_weights,
        base_channels=options.base_channels,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        size=options.size,
        seed=options.seed,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="take name, summary, licence and limits from this model card"
    )
    parser.add_argument(
        "--metrics", type=Path, metavar="FILE", help="metrics.json of infnet cross-validate, for the model card"
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    import json
    from dataclasses import replace

    import infnet
    from infnet.data.labelled_slices import read_labelled_slices

    slices = read_labelled_slices(options.data, options.priors)  # before the slow imports: it may be refused

    from infnet.training.fit import fit
    from infnet.training.model import make_model
    from infnet.weights import read_card, save_model

    recipe = recipe_from(options)
    like = read_card(options.card) if options.card else None
    cross_validation = json.loads(options.metrics.read_text(encoding="utf-8")) if options.metrics else None
    started = time.monotonic()
    network = fit(slices, recipe, options.output, options.device, reporter.progress)
    training = {
        "command": options.command_line,
        "infnet": infnet.__version__,
        "slices": [s.stem for s in slices],
        "seconds": round(time.monotonic() - started),
    }
    card = make_model(options.output.name, recipe, network, training).card
    if like is not None:
        card = replace(card, name=like.name, summary=like.summary, licence=like.licence, limits=like.limits)
    if cross_validation is not None:
        card = replace(card, metrics={k: cross_validation[k] for k in ("folds", "seed", "metrics", "command")})
    card = save_model(options.output / "model", card, network)
    path = options.output / "model" / f"{card.name}.json"
    reporter.result({"output": str(path), **training}, f"Trained in {training['seconds']} s: {path}")
