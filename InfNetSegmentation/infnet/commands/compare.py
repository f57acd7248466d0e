"""``infnet compare``: what has changed between the studies of a patient."""

import argparse
from pathlib import Path

from infnet.reporting import Reporter

NAME = "compare"
HELP = "Compare studies of one patient: figures over dates; new, resolved and persistent disease."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "studies", type=Path, nargs="+", metavar="STUDY", help="folder, as infnet segment --study and --cases write it"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="gets change.csv, change.json, change.svg, change.png, and for each two studies in a row "
        "change-EARLIER-LATER.nrrd (1 persistent, 2 new, 3 resolved) on the earlier CT's grid",
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    import json
    from itertools import pairwise

    from infnet.data.files import check_folder, written_whole
    from infnet.data.volumes import write_image
    from infnet.errors import MissingPackageError, OutputError
    from infnet.quantification.change import Change, changes, comparison_warnings, in_order, map_change
    from infnet.quantification.measurements import write_rows
    from infnet.quantification.study import read_study

    try:
        from infnet.quantification.change_plot import plot_changes, write_plot
    except ImportError as error:
        raise MissingPackageError("The plot needs matplotlib: pip install matplotlib.") from error

    check_folder(options.output)
    studies, warnings = in_order([read_study(folder) for folder in options.studies])
    warnings += comparison_warnings(studies)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{options.output}: no folder can be made there ({error.strerror}).") from error

    maps = []
    for earlier, later in pairwise(studies):
        change = map_change(earlier, later, reporter.progress)
        path = options.output / f"change-{earlier.case}-{later.case}.nrrd"
        write_image(change.image, path)
        warnings += [f"{earlier.case} and {later.case}: {text}" for text in change.warnings]
        maps.append(
            {
                "earlier": earlier.case,
                "later": later.case,
                "map": path.name,
                "ml": change.volumes_ml,
                "unseen_ml": change.unseen_ml,
                "unseen_before_ml": change.unseen_before_ml,
                "lung_dice_before": change.registration.dice_before,
                "lung_dice_after": change.registration.dice_after,
                "folded": change.registration.folded,
            }
        )
    for warning in warnings:
        reporter.message(f"Warning: {warning}")
    reporter.progress("write", 1, 1)
    rows = changes(studies)
    values = {
        "schema": "infnet-change/1",
        "studies": [{"case": study.case, "date": study.date, "severity": study.severity} for study in studies],
        "changes": rows,
        "maps": maps,
        "warnings": warnings,
    }
    write_rows(rows, [*Change.__annotations__], options.output / "change.csv")
    figure = plot_changes(studies)
    for ending in ("svg", "png"):
        write_plot(figure, options.output / f"change.{ending}")
    with written_whole(options.output / "change.json") as temporary:
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    lines = [
        f"{row['case']}: infection {row['value']:.1f} mL"
        for row in rows
        if row["region"] == "total" and row["figure"] == "infection_ml"
    ]
    lines += [
        f"{m['earlier']} to {m['later']}: " + ", ".join(f"{name} {ml:.1f} mL" for name, ml in m["ml"].items())
        for m in maps
    ]
    lines += [f"Written: {options.output}", "For research; not for clinical decisions."]
    reporter.result({"output": str(options.output), **values}, "\n".join(lines))
