"""Evaluations side by side, as a Markdown table like those of the paper: a method a row, a metric a column."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infnet.data.files import read_json
from infnet.data.findings import FINDINGS
from infnet.errors import InputError

Evaluations = Sequence[Mapping[str, Any]]
"""What `infnet evaluate` wrote of one method: one evaluation, or one a finding."""

_TITLES = {
    "dice": "Dice",
    "sensitivity": "Sen.",
    "specificity": "Spec.",
    "precision": "Prec.",
    "s_measure": "S-measure",
    "e_measure": "Mean E-measure",
    "mae": "MAE",
    "hausdorff_95_mm": "HD95 (mm)",
    "surface_distance_mm": "MSD (mm)",
}
_NONE = "-"
_BEST_IS_LOW = ("mae", "hausdorff_95_mm", "surface_distance_mm")
_TABLE_II = ("dice", "sensitivity", "specificity", "s_measure", "e_measure", "mae")
COLUMNS: Mapping[str, Sequence[str]] = {
    "II": _TABLE_II,
    "III": _TABLE_II,
    "IV": _TABLE_II,
    "V": ("dice", "sensitivity", "specificity", "precision"),
}
"""The metrics of the tables in Fan et al., IEEE TMI 2020."""


def read_evaluation(path: Path) -> dict[str, Any]:
    """The JSON file that ``infnet evaluate --json`` wrote. Raises InputError for another file."""
    try:
        evaluation: dict[str, Any] = read_json(path)
        missing = {"mean", "with_finding", "protocol", "threshold", "class", "images"} - evaluation.keys()
        means = [] if missing else [evaluation["mean"], (evaluation["with_finding"] or {"mean": {}})["mean"]]
        values = [value for mean in means for value in mean.values() if value is not None]
        numbers = all(isinstance(value, float | int) and math.isfinite(value) for value in values)
        if not missing and numbers and isinstance(evaluation["images"], dict):
            return evaluation
        reason = "fields are missing, or are no numbers"
    except (OSError, ValueError, AttributeError, KeyError, TypeError, OverflowError) as error:
        reason = str(error)
    raise InputError(f"{path}: not a file of infnet evaluate --json ({reason}).")


def comparison_table(
    methods: Mapping[str, Evaluations], columns: Sequence[str] | None = None, with_finding: bool = False
) -> str:
    """A Markdown table of the means, the best of each column in bold.

    Evaluations of several findings stand side by side, and then their average, as in the paper's Table III.
    ``columns``: metrics, by default all there are. ``with_finding``: the means over the images that contain the
    finding. Raises InputError unless all methods were evaluated in the same way.
    """
    first = next(iter(methods.values()))
    for name, evaluations in methods.items():
        if [_conditions(e) for e in evaluations] != [_conditions(e) for e in first]:
            raise InputError(f"{name}: evaluated in another way than the first method (protocol, class or images).")
    columns = columns or [column for column in _TITLES if column in first[0]["mean"]]
    blocks = [_finding(e) for e in first]
    titles = [_TITLES[column] for column in columns]
    if len(blocks) > 1:
        titles = [f"{block}: {title}" for block in [*blocks, "average"] for title in titles]
    rows = {name: _row(evaluations, columns, with_finding) for name, evaluations in methods.items()}
    best = [_best(cells, columns[i % len(columns)]) for i, cells in enumerate(zip(*rows.values(), strict=True))]
    lines = [["Method", *titles], ["---", *["---:"] * len(titles)]]
    lines += [
        [name, *(f"**{cell}**" if cell == top and len(rows) > 1 else cell for cell, top in zip(row, best, strict=True))]
        for name, row in rows.items()
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _conditions(evaluation: Mapping[str, Any]) -> list[Any]:
    return [*(evaluation[key] for key in ("protocol", "threshold", "class")), sorted(evaluation["images"])]


def _finding(evaluation: Mapping[str, Any]) -> str:
    return next((f.name for f in FINDINGS if f.label == evaluation["class"]), "Infection")


def _row(evaluations: Evaluations, columns: Sequence[str], with_finding: bool) -> list[str]:
    means = [(e["with_finding"] or {"mean": {}})["mean"] if with_finding else e["mean"] for e in evaluations]
    values = [[mean.get(column) for column in columns] for mean in means]
    if len(values) > 1:
        pairs = zip(*values, strict=True)
        values.append([None if None in cells else sum(cells) / len(cells) for cells in pairs])
    return [_NONE if value is None else f"{value:.3f}" for block in values for value in block]


def _best(cells: Sequence[str], metric: str) -> str | None:
    """The best of a column's cells, as written: methods whose difference is not shown share the place."""
    numbers = [cell for cell in cells if cell != _NONE]
    return (min if metric in _BEST_IS_LOW else max)(numbers, key=float, default=None)
