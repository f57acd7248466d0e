"""The commands of the command line, one module each.

A command module has NAME, HELP, ``add_arguments(parser)`` and ``run(options, reporter)``; it imports torch,
lightning and the like only inside ``run``, so that ``infnet --help`` answers at once.
"""

import argparse
from collections.abc import Sequence
from typing import Protocol, cast

from infnet.commands import (
    bench,
    compare,
    convert_checkpoint,
    cross_validate,
    dicom,
    evaluate,
    evaluate_table,
    lobes,
    lungs,
    models,
    networks,
    predict,
    prepare,
    quantify,
    report,
    segment,
    semi_supervised,
    train,
)
from infnet.reporting import Reporter


class Command(Protocol):
    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, options: argparse.Namespace, reporter: Reporter) -> None: ...


def all_commands() -> Sequence[Command]:
    """Every command, in the order of the help text."""
    return cast(
        Sequence[Command],
        (
            segment,
            lungs,
            lobes,
            quantify,
            compare,
            report,
            dicom,
            predict,
            prepare,
            train,
            cross_validate,
            semi_supervised,
            evaluate,
            evaluate_table,
            models,
            networks,
            convert_checkpoint,
            bench,
        ),
    )
