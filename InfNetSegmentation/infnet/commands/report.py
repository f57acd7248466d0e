"""``infnet report``: a finished study as a page for the browser or as PDF."""

import argparse
from pathlib import Path

from infnet.reporting import Reporter

NAME = "report"
HELP = "Report of a finished study: slices, lungs in 3D, tables, chart and provenance, as HTML or PDF."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", type=Path, metavar="STUDY", help="folder, as infnet segment --study and --cases write it"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="REPORT",
        help="REPORT.html: one file with everything in it; REPORT.pdf: the same as A4 pages",
    )
    parser.add_argument("--ct", type=Path, metavar="CT", help="the study's CT, if it is no longer where it was")
    parser.add_argument("--change", type=Path, metavar="DIR", help="folder of infnet compare: adds change over time")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from datetime import date

    from infnet.data.files import check_output, written_whole
    from infnet.data.volumes import read_ct
    from infnet.errors import InputError, InputNotFoundError, MissingPackageError
    from infnet.quantification.study import read_study

    check_output(options.output, (".html", ".pdf"))
    as_pdf = options.output.suffix.lower() == ".pdf"
    try:
        from infnet.report.change import read_change
        from infnet.report.content import NOTICE, compose

        if as_pdf:
            from infnet.report.pdf import render_pdf
        else:
            from infnet.report.html import render_html
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"The report needs the Python package {error.name}: pip install fpdf2 Jinja2 matplotlib."
        ) from error

    reporter.progress("read", 0, 1)
    study = read_study(options.study)
    change = None
    if options.change is not None:
        change = read_change(options.change)
        if study.case not in change.cases:
            raise InputError(f"{options.change}: compares {', '.join(change.cases)}, not {study.case}.")
    path = options.ct or study.ct
    if not path.exists():
        raise InputNotFoundError(f"{path}: the CT of {options.study} is not there; name it with --ct.")
    # Whether its values are Hounsfield units was settled when the study was made, which tells of it.
    ct, _ = read_ct(path, trust_hu=True)
    reporter.progress("read", 1, 1)
    report = compose(study, ct, date.today().isoformat(), change, reporter.progress)
    reporter.progress("write", 0, 1)
    content = render_pdf(report) if as_pdf else render_html(report).encode()
    reporter.progress("write", 1, 1)
    with written_whole(options.output) as temporary:
        temporary.write_bytes(content)
    reporter.result(
        {"output": str(options.output), "case": study.case, "warnings": study.warnings},
        f"Written: {options.output}\n{NOTICE}",
    )
