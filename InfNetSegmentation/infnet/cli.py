"""The command line ``infnet``. Each command is a module of `infnet.commands`; heavy imports happen inside it."""

import argparse
import errno
import io
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from infnet import __version__, commands
from infnet.errors import CancelledError, InfNetError, InputError, OutOfMemoryError, OutputError, is_out_of_memory
from infnet.reporting import BarReporter, JsonReporter, Reporter

_OUTPUTS = ("output", "table", "probability", "json", "csv", "markdown", "reliability")  # names of options


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
        group.add_argument(
            "--progress",
            choices=["bar", "json"],
            default="bar",
            help="a progress bar, or one JSON object a line; default %(default)s",
        )
        group.add_argument("--stop-file", type=Path, metavar="FILE", help="stop cleanly as soon as this file exists")
        subparser.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (0, or that of the error: `infnet.errors`)."""
    if arguments is None:
        _behave_as_program()
        arguments = sys.argv[1:]
    parser = build_parser()
    if "" in arguments:  # of a variable that is not set; as a path it would be the folder that one is in
        parser.error("one of the arguments is empty")
    options = parser.parse_args(arguments)
    options.command_line = shlex.join(["infnet", *arguments]).encode(errors="backslashreplace").decode()
    reporter: Reporter = (
        JsonReporter(options.stop_file) if options.progress == "json" else BarReporter(options.stop_file)
    )
    try:
        with reporter:
            _check_paths(options)
            options.run(options, reporter)
    except InfNetError as error:
        return _failed(reporter, error)
    except KeyboardInterrupt:
        return _failed(reporter, CancelledError("Interrupted."))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _failed(reporter, OutputError(f"{error.strerror}: free some of the disk, then run this again."))
        if error.filename is None:  # a library's own, whose words name the file as a rule
            return _failed(reporter, InputError(f"A file cannot be used ({error})."))
        return _failed(reporter, InputError(f"{error.filename}: {error.strerror}."))
    except UnicodeEncodeError as error:  # of a file in a folder, say
        around = error.object[max(0, error.start - 60) : error.start + 60]
        return _failed(reporter, InputError(f"A name is not in UTF-8; rename it: …{around!r}…"))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return _failed(reporter, OutOfMemoryError("The memory is used up; close other programs, or crop the CT."))
    return 0


def program() -> NoReturn:
    """`main` as a process of its own, which ends at once: Python would first take PyTorch's modules apart."""
    status = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # it is full, or closed; the status tells
            stream.flush()
    os._exit(status)


def _check_paths(options: argparse.Namespace) -> None:
    """Raise `InputError` or `OutputError` for a path of which ITK ends the process, or that would be waited for."""
    for name, given in vars(options).items():
        kind = OutputError if name in _OUTPUTS else InputError
        for path in given if isinstance(given, list) else [given]:
            if isinstance(path, Path):
                try:
                    str(path).encode()
                    is_other = path.exists() and not (path.is_file() or path.is_dir())
                except UnicodeEncodeError as error:
                    raise kind(f"{path}: the name is not in UTF-8; rename it.") from error
                except OSError:  # the command tells of it
                    continue
                if is_other:
                    raise kind(f"{path}: a pipe or a device; name a file or a folder.")


def _failed(reporter: Reporter, error: InfNetError) -> int:
    with suppress(OutputError):  # there may be nowhere to tell it
        reporter.error(error)
    return error.exit_status


def _behave_as_program() -> None:
    """A request to end (SIGTERM) is one to stop, and a name that the terminal cannot show is no error."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    program()
