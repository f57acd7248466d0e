"""The commands of the command line, one module each.

A command module has NAME, HELP, ``add_arguments(parser)`` and ``run(options, reporter)``; it imports torch,
lightning and the like only inside ``run``, so that ``infnet --help`` answers at once.
"""

import argparse
from collections.abc import Sequence
from typing import Protocol, cast

from infnet.commands import cross_validate, models, predict, segment, train
from infnet.reporting import Reporter


class Command(Protocol):
    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, options: argparse.Namespace, reporter: Reporter) -> None: ...


def all_commands() -> Sequence[Command]:
    """Every command, in the order of the help text."""
    return cast(Sequence[Command], (segment, predict, train, cross_validate, models))
