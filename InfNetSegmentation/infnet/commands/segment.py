"""``infnet segment``: ground-glass opacity and consolidation in a chest CT."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infnet.commands.arguments import add_model_arguments
from infnet.errors import NoLungError, OutputError
from infnet.reporting import Reporter

if TYPE_CHECKING:
    from infnet.quantification.volumes import Row

NAME = "segment"
HELP = "Segment ground-glass opacity and consolidation in a chest CT."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ct", type=Path, metavar="CT", help="NRRD, NIfTI or MetaImage file, or folder of DICOM slices")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="OUT.seg.nrrd: segmentation for 3D Slicer; OUT.nrrd, .nii.gz, .nii or .mha: label image (0 background, "
        "1 ground-glass opacity, 2 consolidation) on the CT's grid",
    )
    parser.add_argument("--table", type=Path, metavar="T.csv", help="volumes per lung and in total, as CSV")
    parser.add_argument("--probability", type=Path, metavar="P.nrrd", help="probability of infection, as an image")
    add_model_arguments(parser)


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    from infnet.anatomy.lungs import lung_warnings, segment_lungs
    from infnet.data.files import check_output
    from infnet.data.segmentations import SEGMENTATION_ENDING, write_segmentation
    from infnet.data.volumes import IMAGE_ENDINGS, check_geometry, read_ct, write_image
    from infnet.inference.slices import SliceLook
    from infnet.inference.volume import segment_volume
    from infnet.quantification.volumes import quantify, write_table

    outputs = [(options.output, IMAGE_ENDINGS), (options.table, (".csv",)), (options.probability, IMAGE_ENDINGS)]
    outputs = [(path, endings) for path, endings in outputs if path is not None]
    for path, endings in outputs:
        check_output(path, endings)
    if len({path.resolve() for path in (options.ct, *(path for path, _ in outputs))}) <= len(outputs):
        raise OutputError(f"{options.output}: the CT and every output need names of their own.")

    seconds: dict[str, float] = {}
    with _timed(seconds, "read"):
        reporter.progress("read", 0, 1)
        ct, warnings = read_ct(options.ct)
        reporter.progress("read", 1, 1)
    for path, _ in outputs:
        check_geometry(ct, path)
    for warning in warnings:
        reporter.message(f"Warning: {warning}")
    with _timed(seconds, "models"):
        from infnet.inference.predictor import SlicePredictor

        predictor = SlicePredictor.from_models(options.model, options.labels_model, options.device)
    with _timed(seconds, "lungs"):
        try:
            lungs = segment_lungs(ct, reporter.progress)
        except NoLungError as error:
            raise NoLungError(f"{options.ct}: {error}") from error
    for warning in lung_warnings(lungs):
        warnings.append(warning)
        reporter.message(f"Warning: {warning}")
    look = SliceLook(window=predictor.window)
    threshold = predictor.threshold if options.threshold is None else options.threshold
    with _timed(seconds, "network"):
        segmented = segment_volume(ct, predictor, lungs, look, threshold, reporter.progress)
    table = quantify(segmented.labels, segmented.lungs)
    provenance = {
        "use": "research only, not for clinical decisions",
        **predictor.provenance,
        "ct": options.ct.name,
        "lungs": "threshold and morphology",
        "window_hu": list(look.window),
        "smallest_crop": look.smallest_crop,
        "transposed": look.transposed,
        "threshold": threshold,
        "slices": segmented.slices,
        "warnings": warnings,
    }
    # The last time a stop is heeded. The output itself comes last: where it is, the others are.
    reporter.progress("write", 1, 1)
    with _timed(seconds, "write"):
        if options.table is not None:
            write_table(table, options.ct.name, options.table)
        if options.probability is not None:
            write_image(segmented.infection, options.probability)
        if options.output.name.lower().endswith(SEGMENTATION_ENDING):
            write_segmentation(segmented.labels, options.output, provenance)
        else:
            write_image(segmented.labels, options.output)
    payload = {
        "output": str(options.output),
        "table": table,
        "provenance": provenance,
        "warnings": warnings,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "peak_memory_mb": _peak_memory_mb(),
    }
    reporter.result(payload, _summary(options, table, seconds))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _peak_memory_mb() -> float | None:
    """The most memory this process has had so far; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _summary(options: argparse.Namespace, table: "Sequence[Row]", seconds: dict[str, float]) -> str:
    lines = [f"{'':<11}{'lung':>9}{'GGO':>20}{'consolidation':>20}{'infection':>20}"]
    for row in table:
        findings = (
            (row["ggo_ml"], row["ggo_percent"]),
            (row["consolidation_ml"], row["consolidation_percent"]),
            (row["infection_ml"], row["infection_percent"]),
        )
        cells = "".join(f"{ml:>10.1f} mL{_percent(percent):>7}" for ml, percent in findings)
        lines.append(f"{row['region']:<11}{row['volume_ml']:>6.0f} mL{cells}")
    written = [path for path in (options.output, options.table, options.probability) if path is not None]
    lines.append(f"Written in {sum(seconds.values()):.0f} s: {', '.join(str(path) for path in written)}")
    lines.append("For research; not for clinical decisions.")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"
