"""The command line ``infnet``. Each command is a module of `infnet.commands`; heavy imports happen inside it."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from infnet import __version__, commands
from infnet.errors import CancelledError, InfNetError
from infnet.reporting import BarReporter, JsonReporter, Reporter


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command and its options."""
    parser = argparse.ArgumentParser(
        prog="infnet",
        description="COVID-19 lung infection on chest CT: segmentation, quantification, training. "
        "For research; not for clinical decisions.",
    )
    parser.add_argument("--version", action="version", version=f"infnet {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in commands.all_commands():
        subparser = subparsers.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        group = subparser.add_argument_group("progress")
        group.add_argument("--progress", choices=["bar", "json"], default="bar", help="how progress is told")
        group.add_argument("--stop-file", type=Path, metavar="FILE", help="stop cleanly as soon as this file exists")
        subparser.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (0, or that of the error: `infnet.errors`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = build_parser().parse_args(arguments)
    options.command_line = shlex.join(["infnet", *arguments])
    reporter: Reporter = (
        JsonReporter(options.stop_file) if options.progress == "json" else BarReporter(options.stop_file)
    )
    try:
        with reporter:
            options.run(options, reporter)
    except InfNetError as error:
        reporter.error(error)
        return error.exit_status
    except KeyboardInterrupt:
        cancelled = CancelledError("Interrupted.")
        reporter.error(cancelled)
        return cancelled.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
