"""``infnet segment``: ground-glass opacity and consolidation in a chest CT, or in those of many cases."""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infnet.commands.arguments import (
    add_mirror_argument,
    add_model_arguments,
    add_precision_argument,
    add_runtime_argument,
    add_trust_argument,
    not_negative,
)
from infnet.commands.tables import table_lines
from infnet.errors import InputError, OutputError
from infnet.machine import peak_memory_mb
from infnet.reporting import Reporter

if TYPE_CHECKING:
    from infnet.inference.case import Settings
    from infnet.inference.cohort import Outcome
    from infnet.quantification.study import Study

NAME = "segment"
HELP = "Segment ground-glass opacity and consolidation in a chest CT."
_LOBE_SOURCES = ("auto", "atlas", "lungmask", "totalsegmentator", "zones", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ct", type=Path, nargs="?", metavar="CT", help="NRRD, NIfTI or MetaImage file, or folder of DICOM slices"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="OUT.seg.nrrd: segmentation for 3D Slicer; OUT.nrrd, .nii.gz, .nii or .mha: label image (0 background, "
        "1 ground-glass opacity, 2 consolidation) on the CT's grid; with --cases, the folder of all studies",
    )
    parser.add_argument("--study", type=Path, metavar="DIR", help="folder for all images and result.json")
    parser.add_argument("--table", type=Path, metavar="T.csv", help="volumes per lobe, per lung and in total, as CSV")
    parser.add_argument("--probability", type=Path, metavar="P.nrrd", help="probability of infection, as an image")
    parser.add_argument(
        "--lungs",
        type=Path,
        metavar="FILE",
        help="an existing lung mask (1 right, 2 left), taken as it is: findings beyond it are not measured",
    )
    parser.add_argument("--lobes", type=Path, metavar="FILE", help="an existing segmentation of the lobes")
    parser.add_argument(
        "--lobe-source", choices=_LOBE_SOURCES, default="auto", help="where lobes come from; default %(default)s"
    )
    parser.add_argument(
        "--minimum-lesion-ml",
        type=not_negative,
        default=0.0,
        metavar="ML",
        help="leave out connected pieces of infection that are smaller; default %(default)s, none",
    )
    parser.add_argument(
        "--smoothing-mm",
        type=not_negative,
        default=4.0,
        metavar="MM",
        help="average the networks' maps with those of neighbouring slices, by a Gaussian of this standard deviation; "
        "0: each slice by itself; default %(default)s",
    )
    add_model_arguments(parser)
    add_precision_argument(parser, "32")
    add_runtime_argument(parser)
    add_mirror_argument(parser)
    add_trust_argument(parser)
    group = parser.add_argument_group("many cases")
    group.add_argument(
        "--cases",
        type=Path,
        metavar="LIST",
        help="instead of CT: LIST.csv (columns ct, case; if need be date, patient, lungs, lobes) or a folder of CTs; "
        "finished studies of an earlier run with the same inputs and settings are kept",
    )
    group.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (with Dask)")
    group.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers take the cases")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.inference.case import Settings

    settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    if options.cases is None:
        _segment_one(options, settings, reporter)
    else:
        _segment_many(options, settings, reporter)


def _segment_one(options: argparse.Namespace, settings: "Settings", reporter: Reporter) -> None:
    from infnet.data.files import check_folder, check_output
    from infnet.data.segmentations import SEGMENTATION_ENDING, write_segmentation
    from infnet.data.volumes import IMAGE_ENDINGS, check_geometry, read_ct, write_image
    from infnet.inference.case import Case, begin_imports, load_predictor, segment_case, weights
    from infnet.inference.stages import timed
    from infnet.quantification.measurements import write_table
    from infnet.quantification.study import FILES

    if options.ct is None or (options.output is None and options.study is None):
        raise InputError("Name a CT and -o or --study, or --cases and -o.")
    outputs = [(options.output, IMAGE_ENDINGS), (options.table, (".csv",)), (options.probability, IMAGE_ENDINGS)]
    outputs = [(path, endings) for path, endings in outputs if path is not None]
    for path, endings in outputs:
        check_output(path, endings)
    if options.study is not None:
        check_folder(options.study, FILES)
    read = [path for path in (options.ct, options.lungs, options.lobes) if path is not None]
    written = [path for path, _ in outputs]
    # On macOS too, CT.nrrd is ct.nrrd.
    is_read = any(new.exists() and old.exists() and new.samefile(old) for new in written for old in read)
    if is_read or len(set(map(os.path.realpath, read + written))) < len(read + written):
        raise OutputError(f"{(written or read)[0]}: the CT and every output need names of their own.")

    begin_imports(settings)
    seconds: dict[str, float] = {}
    with timed(seconds, "read"):
        reporter.progress("read", 0, 1)
        ct, warnings = read_ct(options.ct, options.trust_hu)
        reporter.progress("read", 1, 1)
    for path in written:
        check_geometry(ct, path)
    weights(settings)  # a model that is not there, before the lungs
    name = (options.study or options.ct).absolute().name  # as with --cases, a study is called as its folder is
    case = Case(options.ct, name, lungs=options.lungs, lobes=options.lobes)
    load = partial(load_predictor, settings)
    segmented = segment_case(case, settings, ct, warnings, load, options.study or Path(), seconds, reporter.progress)
    del ct  # its memory is enough for the map of the infection
    study = segmented.study
    for warning in study.warnings:
        reporter.message(f"Warning: {warning}")
    # The last time a stop is heeded. The output itself comes last: where it is, the others are.
    reporter.progress("write", 1, 1)
    seconds = dict(study.seconds)
    with timed(seconds, "write"):
        if options.study is not None:
            segmented.write()
        if options.table is not None:
            write_table(study.table, study.case, options.table)
        if options.probability is not None:
            segmented.infection.write(options.probability)
        if options.output is not None:
            if options.output.name.lower().endswith(SEGMENTATION_ENDING):
                write_segmentation(segmented.findings, options.output, study.provenance)
            else:
                write_image(segmented.findings, options.output)
    written += [] if options.study is None else [options.study]
    payload = {
        "output": str(options.output or options.study),
        "table": study.table,
        "severity": study.severity,
        "provenance": study.provenance,
        "warnings": study.warnings,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "peak_memory_mb": peak_memory_mb(),
    }
    reporter.result(payload, _summary(study, written, seconds))


def _segment_many(options: argparse.Namespace, settings: "Settings", reporter: Reporter) -> None:
    from infnet.inference.case import is_finished, segment_into_study, weights
    from infnet.inference.cohort import failure_of, read_cases, run_cases, write_failures, write_tables
    from infnet.reporting import silent

    alone = ("ct", "study", "table", "probability", "lungs", "lobes")
    if options.output is None or any(getattr(options, name) is not None for name in alone):
        raise InputError("--cases needs -o DIR and goes without CT, --study, --table, --probability, --lungs, --lobes.")
    if options.workers < 1:
        raise InputError(f"--workers {options.workers}: give 1 or more.")
    folder = options.output
    cases = read_cases(options.cases)
    weights(settings)  # a model that is not there is no fault of the cases
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: no folder can be made there ({error.strerror}).") from error

    finished = {case.name for case in cases if is_finished(case, settings, folder / case.name)}
    left = [case for case in cases if case.name not in finished]
    reporter.message(f"{len(cases)} cases, {len(finished)} of them finished already.")
    one_process = options.workers == 1 and options.scheduler is None
    work = partial(
        segment_into_study, settings=settings, studies=folder, progress=reporter.progress if one_process else silent
    )
    outcomes: list[Outcome] = []
    try:
        for outcome in run_cases(left, work, options.workers, options.scheduler, reporter.progress):
            outcomes.append(outcome)
            reporter.message(f"{outcome.case.name}: {outcome.error or 'finished'}")
            if outcome.error:
                with suppress(OutputError):  # on Windows, where it is open in Excel; at the end it is written again
                    write_failures(cases, outcomes, folder)
            else:
                finished.add(outcome.case.name)
    finally:  # a run that was stopped tells what it has done
        write_tables(cases, [folder / case.name for case in cases if case.name in finished], outcomes, folder)
    failure = failure_of(outcomes, folder / "failed.csv")
    if failure is not None:
        raise failure
    payload = {"output": str(folder), "cases": len(cases), "kept": len(cases) - len(left)}
    reporter.result(payload, f"{len(cases)} cases: {folder / 'cohort.csv'}\nFor research; not for clinical decisions.")


def _summary(study: "Study", written: Sequence[Path], seconds: dict[str, float]) -> str:
    lines = [
        *table_lines(study.table, study.severity),
        _slices_line(study.provenance),
        f"Written in {sum(seconds.values()):.0f} s: {', '.join(str(path) for path in written)}",
        "For research; not for clinical decisions.",
    ]
    return "\n".join(lines)


def _slices_line(provenance: Mapping[str, Any]) -> str:
    """How many slices the networks were shown, and how many not."""
    with_lung, without = provenance["slices"], provenance["slices_without_lung"]
    line = f"Slices: {with_lung} with lung, {without} without it skipped"
    if provenance.get("gate_threshold") is not None:
        line += f", {provenance['slices_without_infection']} of those with lung by the gate"
    return line
