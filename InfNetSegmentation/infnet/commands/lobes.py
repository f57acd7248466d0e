"""``infnet lobes``: the five lobes of the lungs in a chest CT."""

import argparse
from pathlib import Path

from infnet.commands.arguments import add_trust_argument
from infnet.reporting import Reporter

NAME = "lobes"
HELP = "Segment the five lobes of the lungs in a chest CT."
_SOURCES = ("auto", "atlas", "lungmask", "totalsegmentator", "zones")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ct", type=Path, metavar="CT", help="NRRD, NIfTI or MetaImage file, or folder of DICOM slices")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="OUT.seg.nrrd: segmentation for 3D Slicer; OUT.nrrd, .nii.gz, .nii or .mha: label image (1 right upper, "
        "2 right middle, 3 right lower, 4 left upper, 5 left lower lobe) on the CT's grid",
    )
    parser.add_argument("--lungs", type=Path, metavar="FILE", help="an existing lung mask (1 right, 2 left)")
    parser.add_argument("--lobes", type=Path, metavar="FILE", help="an existing segmentation of the lobes")
    parser.add_argument(
        "--source",
        choices=_SOURCES,
        default="auto",
        help="auto: lungmask or TotalSegmentator if installed with weights, else atlas, else zones (thirds of each "
        "lung's height: 1 to 3 right upper, middle, lower, 4 to 6 left); default %(default)s",
    )
    add_trust_argument(parser)


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.anatomy.lobes import segment_lobes
    from infnet.anatomy.lungs import lung_warnings, segment_lungs
    from infnet.commands.regions import check_region_output, region_volumes, volume_lines, write_regions
    from infnet.data.volumes import check_geometry, read_ct
    from infnet.quantification.label_images import read_lungs

    inputs = [path for path in (options.ct, options.lungs, options.lobes) if path is not None]
    check_region_output(options.output, inputs)
    reporter.progress("read", 0, 1)
    ct, warnings = read_ct(options.ct, options.trust_hu)
    check_geometry(ct, options.output)
    given = options.lungs
    lungs = segment_lungs(ct, reporter.progress, options.ct) if given is None else read_lungs(given, ct)
    warnings += lung_warnings(lungs)
    lobes = segment_lobes(ct, lungs, options.source, options.lobes, reporter.progress)
    warnings += lobes.warnings
    for warning in warnings:
        reporter.message(f"Warning: {warning}")
    source = {"lobes": lobes.source, "approximate": lobes.approximate}
    provenance = {"ct": options.ct.name, **source, "warnings": warnings}
    reporter.progress("write", 0, 1)
    write_regions(lobes.image, lobes.regions, options.output, provenance)
    volumes = region_volumes(lobes.image, lobes.regions)
    payload = {
        "output": str(options.output),
        "source": lobes.source,
        "approximate": lobes.approximate,
        "labels": {region.label: region.name for region in lobes.regions},
        "volumes_ml": volumes,
        "warnings": warnings,
    }
    described = f"Source: {lobes.source}{' (approximate)' if lobes.approximate else ''}"
    reporter.result(payload, "\n".join([*volume_lines(volumes), described, f"Written: {options.output}"]))
