"""``infnet lungs``: the right and the left lung in a chest CT."""

import argparse
from pathlib import Path

from infnet.commands.arguments import add_trust_argument
from infnet.reporting import Reporter

NAME = "lungs"
HELP = "Segment the right and the left lung in a chest CT."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ct", type=Path, metavar="CT", help="NRRD, NIfTI or MetaImage file, or folder of DICOM slices")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="OUT.seg.nrrd: segmentation for 3D Slicer; OUT.nrrd, .nii.gz, .nii or .mha: label image (1 right, 2 left) "
        "on the CT's grid",
    )
    add_trust_argument(parser)


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.anatomy.lungs import SOURCE, lung_warnings, segment_lungs
    from infnet.anatomy.regions import LUNGS
    from infnet.commands.regions import check_region_output, region_volumes, volume_lines, write_regions
    from infnet.data.volumes import check_geometry, read_ct

    check_region_output(options.output, [options.ct])
    reporter.progress("read", 0, 1)
    ct, warnings = read_ct(options.ct, options.trust_hu)
    check_geometry(ct, options.output)
    lungs = segment_lungs(ct, reporter.progress, options.ct)
    warnings += lung_warnings(lungs)
    for warning in warnings:
        reporter.message(f"Warning: {warning}")
    provenance = {"ct": options.ct.name, "lungs": SOURCE, "warnings": warnings}
    reporter.progress("write", 0, 1)
    write_regions(lungs, LUNGS, options.output, provenance)
    volumes = region_volumes(lungs, LUNGS)
    payload = {"output": str(options.output), "volumes_ml": volumes, "warnings": warnings}
    reporter.result(payload, "\n".join([*volume_lines(volumes), f"Written: {options.output}"]))
