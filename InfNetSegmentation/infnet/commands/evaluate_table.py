"""``infnet evaluate-table``: several methods' evaluations in one table."""

import argparse
from pathlib import Path

from infnet.reporting import Reporter

NAME = "evaluate-table"
HELP = "Put evaluations of several methods into one Markdown table, as in the paper."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "methods",
        nargs="+",
        metavar="NAME=FILE[,FILE]",
        help="a row: the method's name and its file of infnet evaluate --json; several files, one a finding, stand "
        "side by side with their average (the paper's Table III)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="F.md", help="file for the table; default: standard output"
    )
    parser.add_argument(
        "--like", choices=["II", "III", "IV", "V"], help="the metrics of that table of the paper; default: all"
    )
    parser.add_argument(
        "--with-finding", action="store_true", help="means over the images whose truth has the finding, not over all"
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.data.files import check_output, written_whole
    from infnet.errors import InputError
    from infnet.evaluation.tables import COLUMNS, comparison_table, read_evaluation

    if options.output is not None:
        check_output(options.output, (".md",))
    methods = {}
    for method in options.methods:
        name, equals, files = method.rpartition("=")
        if not equals or not name or name in methods:
            raise InputError(f"{method}: write NAME=FILE, each with a name of its own.")
        methods[name] = [read_evaluation(Path(file)) for file in files.split(",")]
    table = comparison_table(methods, COLUMNS.get(options.like), options.with_finding)
    if options.output is not None:
        with written_whole(options.output) as temporary:
            temporary.write_text(table, encoding="utf-8")
    reporter.result({"table": table}, table.rstrip())
