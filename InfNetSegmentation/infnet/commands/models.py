"""``infnet models``: the models that come with the package."""

import argparse
from dataclasses import asdict

from infnet.reporting import Reporter

NAME = "models"
HELP = "List the shipped models."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.weights.cards import DEFAULT_MODELS, findings_model, shipped_models

    cards = shipped_models()
    infection = next(card for card in cards if card.name == DEFAULT_MODELS["infection"])
    asked = {infection.name, findings_model(infection, None)}
    lines = []
    for card in cards:
        default = " (default)" if card.name in asked else ""
        # Of the maps as the model gives them; calibrated ones are another matter (docs/evaluation.md).
        told = {n: m for n, m in card.metrics["metrics"].items() if n.endswith("dice") and n != "calibrated_dice"}
        metrics = ", ".join(f"{name} {m['mean']:.3f} on {m['images']} slices" for name, m in told.items())
        lines += [f"{card.name}{default}: {card.summary}", f"    cross-validated: {metrics}", f"    {card.licence}"]
    reporter.result({"models": [asdict(card) for card in cards]}, "\n".join(lines))
