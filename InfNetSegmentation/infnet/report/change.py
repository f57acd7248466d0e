"""What a report says of change over time: the output of ``infnet compare``, read and set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infnet.data.files import read_json
from infnet.data.labelled_slices import read_grey
from infnet.errors import InputError
from infnet.report.layout import Figure, Table
from infnet.report.numbers import DASH, difference, number
from infnet.report.pictures import Picture

SCHEMA = "infnet-change/1"


@dataclass(frozen=True)
class Change:
    """The whole lungs' figures, one row a study, and their course as a picture. ``cases`` are the studies' names."""

    cases: tuple[str, ...]
    table: Table
    figure: Figure


def read_change(folder: Path) -> Change:
    """The output folder of ``infnet compare``. Raises `InputError` where it is none, or is damaged."""
    path = folder / "change.json"
    try:
        values = read_json(path)
        if values["schema"] != SCHEMA:
            raise InputError(f"{path}: of the schema {values['schema']}, not {SCHEMA}; make it again: infnet compare.")
        cases, table = tuple(study["case"] for study in values["studies"]), _table(values)
        caption = "Each figure of each region, study by study. " + " ".join(values["warnings"])
        read_grey(folder / "change.png")  # raises where it is none
        plot = Picture(
            (folder / "change.png").read_bytes(),
            "image/png",
            "Line charts of the figures of each region over the studies; the table tells those of the whole lungs.",
        )
        return Change(cases, table, Figure("Course", plot, caption))
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; infnet compare makes the folder.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: damaged ({error}); make it again: infnet compare.") from error


def _table(values: Mapping[str, Any]) -> Table:
    total = {(row["case"], row["figure"]): row for row in values["changes"] if row["region"] == "total"}
    rows = []
    for study in values["studies"]:
        case = study["case"]
        score = study["severity"]
        infection = total[case, "infection_ml"]
        rows.append(
            [
                case,
                study["date"] or DASH,
                *(
                    number(total[case, f"{finding}_{unit}"]["value"])
                    for finding in ("ggo", "consolidation", "infection")
                    for unit in ("ml", "percent")
                ),
                difference(infection["change_since_previous"]),
                difference(infection["change_since_previous_percent"]),
                DASH if score is None else f"{score}/25",
            ]
        )
    if not all(isinstance(cell, str) for row in rows for cell in row):
        raise ValueError("a study's name or date is no text")
    maps = [
        f"From {each['earlier']} to {each['later']}: "
        + ", ".join(f"{name} {number(ml)} mL" for name, ml in each["ml"].items())
        + "."
        for each in values["maps"]
    ]
    pair = ("mL", "%")
    return Table(
        "Change over time",
        (
            ("Study", ()),
            ("Date", ()),
            ("Ground glass", pair),
            ("Consolidation", pair),
            ("Infection", pair),
            ("Change of infection", pair),
            ("Score", ()),
        ),
        rows,
        " ".join(["The whole lungs. Change: since the study before, in mL and in % of what it was then.", *maps]),
        has_total=False,
    )
