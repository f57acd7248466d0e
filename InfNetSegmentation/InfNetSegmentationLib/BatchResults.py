"""What became of the cases of a batch, as its folder tells, during a run and after it."""

import csv
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from InfNetSegmentationLib.BatchCases import CASE_LIST

SUMMARY = "summary.csv"
FAILURES = "failed.csv"  # which the backend writes


@dataclass
class BatchCase:
    """A case of a batch.

    name - the case's name, which is that of its folder
    ct - path of the CT, a file or a folder of DICOM slices
    study - its numbers (infnet.quantification.study.Study); None while there are none
    failure - why it failed in the last run, or ""
    """

    name: str
    ct: Path
    study: object = None
    failure: str = ""

    @property
    def total(self):
        """The row of both lungs together, or None."""
        return self.study.table[-1] if self.study else None


def batchCases(folder):
    """The cases of a batch's folder, in the order of its list; none where it holds no batch.

    Needs no package that Slicer lacks: it is called when a panel is opened.
    """
    folder = Path(folder)
    failures = {row["case"]: row["message"] for row in _rows(folder / FAILURES, "case", "message")}
    cases = []
    for row in _rows(folder / CASE_LIST, "case", "ct"):
        case = BatchCase(row["case"], folder / row["ct"], failure=failures.get(row["case"], ""))
        if not case.failure:
            case.study = _study(folder / case.name)
        cases.append(case)
    return cases


def _study(folder):
    """The `Study` in a folder, or None."""
    from infnet.errors import InvalidStudyError
    from infnet.quantification.study import RESULT

    with suppress(OSError, InvalidStudyError):  # still to be done
        return _studyMadeAt(folder, (folder / RESULT).stat().st_mtime_ns)
    return None


@lru_cache(maxsize=10_000)
def _studyMadeAt(folder, _time):
    """Read once: the panel asks for all of a batch whenever one is done."""
    from infnet.quantification.study import read_study

    return read_study(folder)


def forgetFailures(folder):
    """Before a run: what failed in the last one is tried again."""
    (Path(folder) / FAILURES).unlink(missing_ok=True)


def writeSummary(cases, folder):
    """Write ``summary.csv``: one row a case, with its numbers or with the cause of its failure."""
    numbers = ("volume_ml", "ggo_ml", "consolidation_ml", "infection_ml", "infection_percent")
    with (Path(folder) / SUMMARY).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["case", *numbers, "severity", "lobes", "warnings", "failure"])
        writer.writeheader()
        for case in cases:
            row = {"case": case.name, "failure": case.failure}
            if case.study:
                row |= {key: None if case.total[key] is None else round(case.total[key], 3) for key in numbers}
                row |= {"severity": case.study.severity, "lobes": case.study.sources.get("lobes")}
                row["warnings"] = " ".join(case.study.warnings)
            writer.writerow(row)


def _rows(path, *columns):
    """The rows (dicts) of a CSV file that have these columns; none where there is no such file, or another one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets mark it so
            return [row for row in csv.DictReader(file) if all(row.get(column) for column in columns)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
