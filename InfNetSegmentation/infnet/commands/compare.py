"""``infnet compare``: what has changed between the studies of a patient."""

import argparse
from pathlib import Path
from typing import Any

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

    from infnet.anatomy import regions
    from infnet.data.files import check_folder, check_output, written_together, written_whole
    from infnet.data.findings import FINDINGS
    from infnet.data.volumes import write_image
    from infnet.errors import InputNotFoundError, MissingPackageError
    from infnet.quantification.change import Change, changes, comparison_warnings, in_order, map_change
    from infnet.quantification.label_images import read_label_image
    from infnet.quantification.measurements import write_rows
    from infnet.quantification.study import LUNGS, SEGMENTATION, read_study

    try:
        from infnet.quantification.change_plot import plot_changes, write_plot
    except ImportError as error:
        raise MissingPackageError("The plot needs matplotlib: pip install matplotlib.") from error

    last, others = "change.json", ("change.csv", "change.svg", "change.png")
    check_folder(options.output, (last, *others))
    studies, warnings = in_order([read_study(folder) for folder in options.studies])
    for study in studies:  # before minutes of work for others
        if not study.ct.exists():
            raise InputNotFoundError(f"{study.ct}: the CT of {study.folder} is not there; segment it again.")
        read_label_image(study.folder / SEGMENTATION, len(FINDINGS))
        read_label_image(study.folder / LUNGS, len(regions.LUNGS))
    warnings += comparison_warnings(studies)
    rows, figure = changes(studies), plot_changes(studies)
    names = [f"change-{earlier.case}-{later.case}.nrrd" for earlier, later in pairwise(studies)]
    with written_together(options.output, last=last, optional=others) as new:
        for name in names:
            check_output(options.output / name, (".nrrd",))
        maps: list[dict[str, Any]] = []
        for name, (earlier, later) in zip(names, pairwise(studies), strict=True):
            change = map_change(earlier, later, reporter.progress)
            write_image(change.image, new / name)
            warnings += [f"{earlier.case} and {later.case}: {text}" for text in change.warnings]
            maps.append(
                {
                    "earlier": earlier.case,
                    "later": later.case,
                    "map": name,
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
        values = {
            "schema": "infnet-change/1",
            "studies": [{"case": study.case, "date": study.date, "severity": study.severity} for study in studies],
            "changes": rows,
            "maps": maps,
            "warnings": warnings,
        }
        write_rows(rows, [*Change.__annotations__], new / "change.csv")
        for ending in ("svg", "png"):
            write_plot(figure, new / f"change.{ending}")
        with written_whole(new / last) as temporary:
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
