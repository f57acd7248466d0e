"""``infnet quantify``: volumes, densities and scores of findings that are segmented already."""

import argparse
from pathlib import Path

from infnet.commands.arguments import add_trust_argument
from infnet.commands.tables import table_lines
from infnet.reporting import Reporter

NAME = "quantify"
HELP = "Measure segmented findings per lobe, per lung and in total."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ct", type=Path, metavar="CT", help="NRRD, NIfTI or MetaImage file, or folder of DICOM slices")
    parser.add_argument(
        "--segmentation",
        type=Path,
        required=True,
        metavar="S",
        help="findings: segmentation of 3D Slicer, or label image (1 ground-glass opacity, 2 consolidation)",
    )
    parser.add_argument(
        "--lungs",
        type=Path,
        metavar="L",
        help="lung mask (1 right, 2 left), taken as it is; default: found in the CT and widened by the findings",
    )
    parser.add_argument("--lobes", type=Path, metavar="B", help="segmentation of the lobes; default: no rows of lobes")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="T",
        help="T.csv: the table; T.json: also scores, sources and warnings",
    )
    parser.add_argument("--case", metavar="NAME", help="in the table; default: the CT's file name")
    add_trust_argument(parser)


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    import json

    from infnet.anatomy.contrast import AGENT_TAG
    from infnet.anatomy.envelope import with_infected_lung
    from infnet.anatomy.lobes import segment_lobes
    from infnet.anatomy.lungs import SOURCE, lung_warnings, segment_lungs
    from infnet.data.files import check_output, written_whole
    from infnet.data.volumes import dicom_tags, read_ct
    from infnet.quantification.label_images import AS_GIVEN, read_findings, read_lungs
    from infnet.quantification.measurements import measure, write_table

    check_output(options.output, (".csv", ".json"))
    reporter.progress("read", 0, 1)
    ct, warnings = read_ct(options.ct, options.trust_hu)
    findings = read_findings(options.segmentation, ct)
    reporter.progress("read", 1, 1)
    if options.lungs is None:
        found = segment_lungs(ct, reporter.progress, options.ct)
        lungs = with_infected_lung(found, findings)  # as infnet segment does
        lung_shortcomings = lung_warnings(found)
        lung_source = SOURCE
    else:
        lungs = read_lungs(options.lungs, ct)
        lung_shortcomings = lung_warnings(lungs)
        lung_source = options.lungs.name + AS_GIVEN
    lobes = None
    if options.lobes is not None:
        lobes = segment_lobes(ct, lungs, existing=options.lobes, progress=reporter.progress)
    reporter.progress("quantify", 0, 1)
    (contrast_agent,) = dicom_tags(options.ct, AGENT_TAG)
    measured = measure(ct, findings, lungs, lobes, contrast_agent)
    reporter.progress("quantify", 1, 1)
    case = options.case or options.ct.name
    values = {"schema": "infnet-measurements/1", "case": case, **measured.as_dict()}
    values["sources"] = {"findings": options.segmentation.name, "lungs": lung_source, **measured.sources}
    values["warnings"] = [*warnings, *lung_shortcomings, *measured.warnings]
    for warning in values["warnings"]:
        reporter.message(f"Warning: {warning}")
    if options.output.suffix.lower() == ".csv":
        write_table(measured.rows, case, options.output)
    else:
        with written_whole(options.output) as temporary:
            text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    lines = [*table_lines(measured.rows, measured.severity), f"Written: {options.output}"]
    reporter.result(
        {"output": str(options.output), **values}, "\n".join([*lines, "For research; not for clinical decisions."])
    )
