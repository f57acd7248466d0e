"""``infnet prepare``: from CTs to slices in the look of the training slices."""

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from infnet.errors import InfNetError, InputError, InputNotFoundError, OutputError
from infnet.reporting import Reporter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from infnet.data.prepared import PreparedSlice
    from infnet.inference.case import Case
    from infnet.inference.slices import SliceLook

NAME = "prepare"
HELP = "Cut CTs into slices for training: axial, through the lung window, cropped to the lungs."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="CT file, folder of a CT's DICOM slices, folder of such files and folders, or list of CTs (CSV with the "
        "columns ct and case)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="new folder: Imgs, slices.csv, and GT if asked for",
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="folder with a label image or segmentation of each CT, under the CT's name: writes GT",
    )
    truth.add_argument("--healthy", action="store_true", help="the CTs show no infection: writes empty GT")
    parser.add_argument(
        "--black-outside",
        action="store_true",
        help="blacken what is outside the lungs' convex hulls; default: crop to the lungs only, as COVID-SemiSeg",
    )
    parser.add_argument(
        "--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="HU shown as black and white; default -1100 250"
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.data.files import check_folder, written_together
    from infnet.data.listing import LISTING
    from infnet.data.prepared import write_listing
    from infnet.inference.slices import SliceLook

    check_folder(options.output)
    if options.output.is_dir() and any(path for path in options.output.iterdir() if not path.name.startswith(".")):
        raise OutputError(f"{options.output}: holds something already; name a new folder.")
    look = SliceLook(window=tuple(options.window)) if options.window else SliceLook()
    if not -math.inf < look.window[0] < look.window[1] < math.inf:
        raise InputError(f"Window {look.window[0]:g} to {look.window[1]:g}: the second has to be the larger one.")
    cases = [case for path in options.inputs for case in _cases(path)]
    names = [case.name.casefold() for case in cases]  # as Windows and macOS tell files apart
    if twice := {case.name for case in cases if names.count(case.name.casefold()) > 1}:
        raise InputError(
            f"Several CTs are called {', '.join(sorted(twice))}; rename them, or name them in a list (CSV)."
        )

    places: list[PreparedSlice] = []
    failed: dict[str, InfNetError] = {}
    with written_together(options.output, last=LISTING) as new:
        for done, case in enumerate(cases, start=1):
            try:
                places += _prepare(case, options, look, new, reporter)
            except InputError as error:
                failed[case.name] = error
                reporter.message(f"{case.name} left out: {error}")
            reporter.progress("volumes", done, len(cases))
        if not places and len(failed) == 1:
            raise next(iter(failed.values()))
        if not places:
            told = " ".join(f"{name}: {error}" for name, error in failed.items())
            raise InputError(f"None of the {len(failed)} CTs can be used. {told}")
        write_listing(new, places)
    summary = f"{len(places)} slices of {len(cases) - len(failed)} CTs: {options.output}"
    if failed:
        summary += "".join([f"\n{len(failed)} CTs left out:", *(f"\n  {name}: {e}" for name, e in failed.items())])
    payload = {
        "output": str(options.output),
        "slices": len(places),
        "failed": {name: str(error) for name, error in failed.items()},
    }
    reporter.result(payload, summary)


def _cases(path: Path) -> "list[Case]":
    from infnet.data.volumes import IMAGE_ENDINGS
    from infnet.inference.case import Case
    from infnet.inference.cohort import read_cases

    holds_cts = path.is_dir() and any(p.is_dir() or p.name.lower().endswith(IMAGE_ENDINGS) for p in path.iterdir())
    if holds_cts or path.suffix.lower() == ".csv":
        return read_cases(path)
    name = Path(os.path.realpath(path)).name  # of links in a circle too
    ending = next((ending for ending in IMAGE_ENDINGS if name.lower().endswith(ending)), "")
    return [Case(path, name[: len(name) - len(ending)])]


def _prepare(
    case: "Case", options: argparse.Namespace, look: "SliceLook", folder: Path, reporter: Reporter
) -> "list[PreparedSlice]":
    import numpy as np

    from infnet.anatomy.envelope import lung_envelope
    from infnet.anatomy.lungs import segment_lungs
    from infnet.data.orientation import AxialView
    from infnet.data.prepared import cut
    from infnet.data.volumes import read_ct
    from infnet.quantification.label_images import read_findings, read_lungs

    ct, warnings = read_ct(case.ct)
    for warning in warnings:
        reporter.message(f"{case.name}: {warning}")
    # Before the lungs are looked for: it may be refused.
    truth = AxialView(read_findings(_labels_of(case, options.labels), ct)).array() if options.labels else None
    lungs = read_lungs(case.lungs, ct) if case.lungs else segment_lungs(ct, reporter.progress)
    view = AxialView(lungs)
    envelope = lung_envelope(view.array(), view.spacing)
    if options.healthy:
        truth = np.zeros_like(envelope)
    places = []
    for place, picture in cut(ct, envelope, look, case.name, options.black_outside):
        _write(picture, folder / "Imgs" / f"{place.file}.png")
        if truth is not None:
            _write(place.part_of(truth), folder / "GT" / f"{place.file}.png", in_colours=True)
        places.append(place)
    return places


def _labels_of(case: "Case", folder: Path) -> Path:
    from infnet.data.volumes import IMAGE_ENDINGS

    paths = [folder / f"{case.name}{ending}" for ending in (".seg.nrrd", *IMAGE_ENDINGS)]
    try:
        found = [path for path in paths if path.is_file()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
    if not found:
        raise InputNotFoundError(f"{folder}: holds no labels of {case.name} ({case.name}.nrrd, .seg.nrrd, .nii.gz, …).")
    return found[0]


def _write(picture: "NDArray[np.uint8]", path: Path, in_colours: bool = False) -> None:
    from PIL import Image

    from infnet.data.files import written_whole
    from infnet.data.findings import FINDINGS

    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(picture)
    if in_colours:
        image.putpalette([0, 0, 0, *(value for finding in FINDINGS for value in finding.colour)])
    with written_whole(path) as temporary:
        image.save(temporary)
