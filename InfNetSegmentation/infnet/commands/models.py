"""``infnet models``: the models that come with the package."""

import argparse
from dataclasses import asdict

from infnet.reporting import Reporter

NAME = "models"
HELP = "List the shipped models."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.weights import DEFAULT_MODELS, shipped_models

    cards = shipped_models()
    lines = [
        f"{card.name}{' (default)' if card.name in DEFAULT_MODELS.values() else ''}: {card.summary}\n"
        f"    licence: {card.licence}"
        for card in cards
    ]
    reporter.result({"models": [asdict(card) for card in cards]}, "\n".join(lines))
