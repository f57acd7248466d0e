"""``infnet evaluate``: how well predictions agree with the ground truth."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infnet.commands.arguments import probability
from infnet.reporting import Reporter

NAME = "evaluate"
HELP = "Measure predictions (slices or volumes) against their ground truth."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="folder of maps STEM.png (probability as 0..255) or of label images, as infnet predict and infnet "
        "cross-validate write them; or of volumes (NRRD, NIfTI, MetaImage, .seg.nrrd: labels, or probabilities from "
        "0 to 1); or one image",
    )
    parser.add_argument(
        "truth",
        type=Path,
        metavar="GROUND_TRUTH",
        help="folder of masks or label images of the same names, or one image",
    )
    parser.add_argument(
        "--protocol",
        choices=["threshold", "paper"],
        default="threshold",
        help="threshold: the maps as they are, at one threshold. paper: as the evaluation tool of Fan et al., 2020, "
        "each map scaled to its minimum and maximum, means over 256 thresholds. Default %(default)s",
    )
    parser.add_argument(
        "--threshold", type=probability, default=0.5, metavar="P", help="of the protocol threshold; default %(default)s"
    )
    parser.add_argument(
        "--class",
        dest="finding",
        type=int,
        choices=[1, 2],
        help="label that counts: 1 ground-glass opacity or 2 consolidation; default: any. Maps of probability must be "
        "those of this finding",
    )
    parser.add_argument(
        "--against", type=Path, metavar="OTHER", help="other predictions: compares the Dice image by image"
    )
    parser.add_argument("--json", type=Path, metavar="F.json", help="everything measured")
    parser.add_argument("--csv", type=Path, metavar="F.csv", help="the metrics of each image")
    parser.add_argument("--markdown", type=Path, metavar="F.md", help="the means as a table")
    parser.add_argument(
        "--reliability",
        type=Path,
        action="append",
        default=[],
        metavar="F",
        help="reliability curve of maps of probability: F.json, or a picture F.png or F.svg; may be repeated",
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    import json

    import infnet
    from infnet.data.files import check_output, written_whole
    from infnet.errors import InputError, MissingPackageError, OutputError
    from infnet.evaluation.pairs import match

    outputs = [
        (options.json, (".json",)),
        (options.csv, (".csv",)),
        (options.markdown, (".md",)),
        *((path, (".json", ".png", ".svg")) for path in options.reliability),
    ]
    written: set[Path] = set()
    for path, endings in outputs:
        if path is not None:
            check_output(path, endings)
            if path.resolve() in written:
                raise OutputError(f"{path}: named for two outputs; give each a file of its own.")
            written.add(path.resolve())
    pairs = match(options.predictions, options.truth)  # before the slow imports: it may be refused
    other_pairs = match(options.against, options.truth) if options.against else None

    try:
        import py_sod_metrics  # noqa: F401

        from infnet.evaluation.reliability_plot import draw
    except ImportError as error:
        raise MissingPackageError(
            "Evaluation needs pysodmetrics and matplotlib: pip install pysodmetrics matplotlib."
        ) from error
    from infnet.evaluation.evaluation import evaluate
    from infnet.evaluation.statistics import compare
    from infnet.evaluation.tables import comparison_table
    from infnet.quantification.measurements import write_rows

    how = (options.protocol, options.threshold, options.finding, reporter.progress)
    evaluation = evaluate(pairs, *how)
    if options.reliability and not evaluation.reliability.has_probabilities:
        raise InputError(f"{options.predictions}: labels, not probabilities; they have no reliability curve.")
    result = {
        **evaluation.as_dict(),
        "protocol": options.protocol,
        "threshold": options.threshold if options.protocol == "threshold" else None,
        "class": options.finding,
        "predictions": str(options.predictions),
        "ground_truth": str(options.truth),
        "without_truth": [path.name for path in pairs.without_truth],
        "infnet": infnet.__version__,
        "command": options.command_line,
    }
    if other_pairs is not None:
        other = evaluate(other_pairs, *how, stage="other images")
        result["against"] = {
            "predictions": str(options.against),
            "mean": other.as_dict()["mean"],
            "dice_difference": compare([*evaluation.images.values()], [*other.images.values()]),
        }
    if options.reliability:
        result["reliability"] = evaluation.reliability.as_dict()

    for path in options.reliability:
        if path.suffix.lower() == ".json":
            _write(json.dumps(result["reliability"], indent=2) + "\n", path)
        else:
            with written_whole(path) as temporary:
                draw(result["reliability"], temporary)
    if options.csv is not None:
        rows = [{"image": name, **metrics} for name, metrics in evaluation.images.items()]
        write_rows(rows, list(rows[0]), options.csv)
    if options.markdown is not None:
        _write(comparison_table({options.predictions.name: [result]}), options.markdown)
    if options.json is not None:
        _write(json.dumps(result, indent=2, allow_nan=False) + "\n", options.json)
    reporter.result(result, _summary(result))


def _write(text: str, path: Path) -> None:
    from infnet.data.files import written_whole

    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _summary(result: Mapping[str, Any]) -> str:
    how = "the paper's protocol" if result["protocol"] == "paper" else f"threshold {result['threshold']:g}"
    lines = [f"Images: {result['count']} ({result['predictions_are']}); {how}; mean (95 % confidence interval)"]
    for name, mean in result["mean"].items():
        value = "not defined" if mean is None else f"{mean:.3f}{_interval(result['confidence'][name])}"
        lines.append(f"  {name.replace('_', ' '):<20}{value}")
    containing = result["with_finding"]
    if containing is None:
        lines.append("No truth has the finding. (In masks of one finding, infection has the label 1.)")
    elif containing["count"] < result["count"]:
        lines.append(f"Truth not empty: {containing['count']}; their Dice: {containing['mean']['dice']:.3f}")
    if result["both_empty"]:
        dice = "0 in the paper's protocol" if result["protocol"] == "paper" else "1 each"
        lines.append(f"Truth and prediction both empty: {result['both_empty']}; their Dice: {dice}")
    if result["resized"]:
        lines.append(f"Predictions resized to their truth's size: {result['resized']}")
    if left_out := result["without_truth"]:
        lines.append(f"Predictions without a truth, left out: {len(left_out)} ({', '.join(left_out[:10])})")
    if "against" in result:
        difference = result["against"]["dice_difference"]
        lines.append(
            f"Dice less that of {result['against']['predictions']}: {difference['mean']:+.3f}"
            f"{_interval(difference['confidence'])}, Wilcoxon p = {difference['wilcoxon_p']:.2g}; "
            f"better in {difference['better']}, worse in {difference['worse']}, equal in {difference['equal']}"
        )
    if "reliability" in result:
        scores = result["reliability"]
        error, brier = scores["expected_calibration_error"], scores["brier"]
        lines.append(f"Expected calibration error {error:.3f}, Brier score {brier:.3f}")
    return "\n".join(lines)


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
