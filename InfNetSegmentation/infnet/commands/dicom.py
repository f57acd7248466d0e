"""``infnet dicom``: a result as DICOM segmentations and a DICOM report."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infnet.errors import InputError
from infnet.reporting import Reporter

if TYPE_CHECKING:
    import SimpleITK as sitk

    from infnet.dicom.export import Result
    from infnet.dicom.series import SourceSeries
    from infnet.quantification.study import Study

NAME = "dicom"
HELP = "Write a result as DICOM segmentations (SEG) and a measurement report (SR)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "result",
        type=Path,
        metavar="RESULT",
        help="folder of a finished study, or a segmentation alone: .seg.nrrd or label image (1 ground-glass opacity, "
        "2 consolidation)",
    )
    parser.add_argument(
        "--series",
        type=Path,
        required=True,
        metavar="DICOM_FOLDER",
        help="the DICOM slices of the CT; patient and study are taken from them",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="gets findings.dcm and, where there are lungs, lobes or an infection map, lungs.dcm, lobes.dcm, "
        "infection.dcm and measurements.dcm",
    )
    parser.add_argument(
        "--lungs", type=Path, metavar="L", help="lung mask (1 right, 2 left); only with a segmentation alone"
    )
    parser.add_argument(
        "--lobes",
        type=Path,
        metavar="B",
        help="segmentation of the lobes (1 RUL, 2 RML, 3 RLL, 4 LUL, 5 LLL); only with --lungs",
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.dicom import require_highdicom

    require_highdicom()
    import logging
    import warnings

    from infnet.data.files import check_folder
    from infnet.dicom.export import FILES, write_dicom

    check_folder(options.output, FILES.values())
    logging.getLogger("highdicom").setLevel(logging.ERROR)  # tells of every segmentation that is empty
    with warnings.catch_warnings():
        # Of names and private tags that other people's files have; they are copied as they are.
        warnings.filterwarnings("ignore", category=UserWarning, module="pydicom|highdicom")
        series, result = _read(options, reporter)
        paths = write_dicom(result, series, options.output, reporter.progress)
    payload = {
        "output": str(options.output),
        "objects": {name: str(path) for name, path in paths.items()},
        "series_instance_uid": series.uid,
        "warnings": list(result.warnings),
    }
    lines = [f"{name:<14}{path}" for name, path in paths.items()]
    if not result.table:
        lines.append("Without lungs (--lungs) there are no measurements.")
    reporter.result(payload, "\n".join([*lines, "For research; not for clinical use."]))


def _read(options: argparse.Namespace, reporter: Reporter) -> "tuple[SourceSeries, Result]":
    from infnet.data.segmentations import read_provenance
    from infnet.data.volumes import read_image
    from infnet.dicom.series import read_series
    from infnet.quantification.study import read_study

    reporter.progress("read", 0, 1)
    study = read_study(options.result) if options.result.is_dir() else None
    if study and (options.lungs or options.lobes):
        raise InputError(f"{options.result}: a study has its own lungs and lobes; --lungs and --lobes go without one.")
    provenance = study.provenance if study else read_provenance(read_image(options.result))
    # Of a study's CT only the geometry is needed: its values were looked at when the study was made.
    series = read_series(options.series, provenance.get("series_instance_uid"), trust_hu=study is not None)
    for warning in series.warnings:
        reporter.message(f"Warning: {warning}")
    result = _of_study(study) if study else _of_files(options, series, provenance)
    reporter.progress("read", 1, 1)
    return series, result


def _of_study(study: "Study") -> "Result":
    from infnet.anatomy import regions
    from infnet.data.volumes import read_image
    from infnet.dicom import export
    from infnet.quantification.study import INFECTION, LOBES, LUNGS, SEGMENTATION

    sources = {name: study.sources.get(name, "unknown") for name in ("lungs", "lobes")}
    parts = regions.ZONES if sources["lobes"] == "zones" else regions.LOBES
    images = {export.FINDINGS: _findings(study.folder / SEGMENTATION)}
    for name, file, highest in ((export.LUNGS, LUNGS, len(regions.LUNGS)), (export.LOBES, LOBES, len(parts))):
        if (study.folder / file).exists():
            images[name] = _labels(study.folder / file, highest)
    if (path := study.folder / INFECTION).exists():
        images[export.INFECTION] = read_image(path), path
    return export.Result(
        images,
        sources["lungs"],
        sources["lobes"],
        study.table,
        study.severity,
        study.provenance,
        study.warnings,
    )


def _of_files(options: argparse.Namespace, series: "SourceSeries", provenance: Mapping[str, Any]) -> "Result":
    from infnet.anatomy.lobes import segment_lobes
    from infnet.data.volumes import read_image
    from infnet.dicom import export
    from infnet.quantification.label_images import AS_GIVEN, read_lungs
    from infnet.quantification.measurements import measure

    findings, path = _findings(options.result)
    findings = series.on_slices(findings, path)
    images = {export.FINDINGS: (findings, path)}
    if options.lungs is None:
        if options.lobes is not None:
            raise InputError("--lobes needs --lungs: lobes are parts of the lungs.")
        return export.Result(images, provenance=provenance)
    series.on_slices(read_image(options.lungs), options.lungs)  # raises where something lies beside the series
    lungs = read_lungs(options.lungs, series.ct)
    images[export.LUNGS] = lungs, options.lungs
    lobes = None
    if options.lobes is not None:
        series.check_grid(read_image(options.lobes), options.lobes)
        lobes = segment_lobes(series.ct, lungs, existing=options.lobes)
        images[export.LOBES] = lobes.image, options.lobes
    agent = str(series.images[0].get("ContrastBolusAgent", ""))
    measured = measure(series.ct, findings, lungs, lobes, agent)
    return export.Result(
        images,
        options.lungs.name + AS_GIVEN,
        options.lobes.name if options.lobes else "none",
        measured.rows,
        measured.severity,
        provenance,
        [*series.warnings, *measured.warnings],
    )


def _findings(path: Path) -> "tuple[sitk.Image, Path]":
    """The findings' labels on the file's own grid: whether that is the series' is looked at later."""
    from infnet.data.volumes import read_image
    from infnet.quantification.label_images import read_findings

    return read_findings(path, read_image(path)), path


def _labels(path: Path, highest: int) -> "tuple[sitk.Image, Path]":
    from infnet.quantification.label_images import read_label_image

    return read_label_image(path, highest), path
