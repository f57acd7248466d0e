"""Many cases, one after the other or on the workers of a Dask cluster.

Dask, since it is Python throughout, needs no service to be installed, runs on one machine as well as under Slurm,
PBS or Kubernetes (dask-jobqueue, dask-kubernetes), and gives the work of a worker that dies to another one.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from infnet.data.volumes import IMAGE_ENDINGS
from infnet.errors import CancelledError, InfNetError, InputError, InputNotFoundError, MissingPackageError
from infnet.inference.case import Case
from infnet.quantification.measurements import Row, write_rows
from infnet.quantification.study import read_study
from infnet.reporting import Progress, silent

Work = Callable[[Case], None]
"""What is done with a case: it makes the study, or raises. For workers it has to be picklable."""

_VOLUME_ENDINGS = (*IMAGE_ENDINGS, ".mhd")
_NO_IMAGES = ("DICOMDIR", "README", "DESKTOP", "THUMBS")  # what lies beside images on a CD, and on Windows
# What no system takes for a folder: some signs, a dot or a space at the end, and on Windows the names of devices.
_NAME = re.compile(
    r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[^/\\:*?\"<>|\x00-\x1f]*[^/\\:*?\"<>|\x00-\x1f. ]", re.IGNORECASE
)
_STOP_IS_LOOKED_FOR_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """What became of a case; ``error`` is None where its study was made."""

    case: Case
    error: InfNetError | None


def read_cases(path: Path) -> list[Case]:
    """The cases of a CSV file, or of a folder: each volume file in it, and each folder of DICOM files at any depth.

    The CSV's columns are ct and case, and if need be date (YYYY-MM-DD), patient, lungs and lobes; its paths are
    relative to its own folder. Raises `InputError` for a file without those columns, without cases, or with two of
    one name.
    """
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file or folder.")
    try:
        cases = _cases_of_folder(path) if path.is_dir() else _cases_of_list(path)
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read ({error.strerror}).") from error
    if not cases:
        raise InputError(f"{path}: no cases in it.")
    seen: set[str] = set()
    for case in cases:
        if not _NAME.fullmatch(case.name):
            raise InputError(f"{path}: the case's name '{case.name}' is to be a folder's; rename it.")
        if case.name.casefold() in seen:
            raise InputError(f"{path}: several cases are called {case.name}; give each a name of its own.")
        seen.add(case.name.casefold())
    return cases


def run_cases(
    cases: Sequence[Case],
    work: Work,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress = silent,
) -> Iterator[Outcome]:
    """Do the work of every case and yield what became of each, in the order in which they end.

    One process, or ``workers`` of a cluster of this machine's own, or those of the Dask ``scheduler`` at an address.
    A bad case does not end the run; `CancelledError`, from ``progress`` or from the work, does.
    """
    ended = partial(progress, "cases", total=len(cases))
    ended(0)
    if workers > 1 or scheduler is not None:
        outcomes = _outcomes_of_cluster(cases, work, workers, scheduler, ended)
    else:
        outcomes = (_attempt(work, case) for case in cases)
    for done, outcome in enumerate(outcomes, start=1):
        yield outcome
        ended(done)


def write_tables(cases: Sequence[Case], studies: Sequence[Path], outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write ``cohort.csv``, a row a region of each study, and ``failed.csv``, a row a failed case, into ``folder``."""
    rows: list[dict[str, Any]] = []
    for study in map(read_study, studies):
        rows += [{"case": study.case, "patient": study.patient, "date": study.date, **row} for row in study.table]
    write_rows(rows, ["case", "patient", "date", *Row.__annotations__], folder / "cohort.csv")
    write_failures(cases, outcomes, folder)


def write_failures(cases: Sequence[Case], outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write ``failed.csv`` alone, as soon as a case has failed: a run that is cut off has told of it."""
    failed = {outcome.case.name: outcome for outcome in outcomes if outcome.error}
    write_rows(
        [
            {"case": case.name, "ct": case.ct, "cause": error.code, "message": error}
            for case in cases
            if case.name in failed and (error := failed[case.name].error)
        ],
        ["case", "ct", "cause", "message"],
        folder / "failed.csv",
    )


def failure_of(outcomes: Sequence[Outcome], table: Path) -> InfNetError | None:
    """The error of the whole run: with the exit status of its cases' errors if they share one; None without errors."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if not errors:
        return None
    kind = type(errors[0]) if len({error.exit_status for error in errors}) == 1 else InfNetError
    return kind(f"{len(errors)} of {len(outcomes)} cases failed, the first: {errors[0]} All of them: {table}")


def _cases_of_list(path: Path) -> list[Case]:
    known = {field.name for field in fields(Case)} - {"name"} | {"case"}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a list of cases ({error}); give a CSV file in UTF-8.") from error
    if not {"ct", "case"} <= columns <= known:
        raise InputError(
            f"{path}: has the columns {', '.join(sorted(columns))}; needed are ct and case, and known are also "
            f"{', '.join(sorted(known - {'ct', 'case'}))}."
        )
    cases = []
    for number, cells in enumerate(lines, start=2):
        if None in cells:  # what is beyond the last column
            raise InputError(f"{path}, line {number}: more cells than columns.")
        line = {column: cell.strip() for column, cell in cells.items() if cell}
        if not (line.get("ct") and line.get("case")):
            raise InputError(f"{path}, line {number}: ct or case is empty.")
        paths = {key: path.parent / line[key] for key in ("ct", "lungs", "lobes") if line.get(key)}
        texts = {key: line[key] for key in ("date", "patient") if line.get(key)}
        if "date" in texts and not _is_date(texts["date"]):
            raise InputError(f"{path}, line {number}: the date {texts['date']} is not of the form YYYY-MM-DD.")
        cases.append(Case(name=line["case"], **paths, **texts))  # type: ignore[arg-type]
    return cases


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _cases_of_folder(folder: Path) -> list[Case]:
    cases = [Case(folder, folder.absolute().name)] if _holds_dicom(folder) else []
    for path in sorted(folder.rglob("*")):
        name = path.name.lower()
        if path.is_dir():
            if _holds_dicom(path):  # called as its study and its patient are too, where those have folders
                cases.append(Case(path, "_".join(path.relative_to(folder).parts)))
        elif path.parent != folder:
            continue
        elif name.endswith(_VOLUME_ENDINGS) and not name.endswith(".seg.nrrd") and not name.startswith("."):
            ending = next(ending for ending in _VOLUME_ENDINGS if name.endswith(ending))
            cases.append(Case(path, path.name[: -len(ending)]))
    return cases


def _holds_dicom(folder: Path) -> bool:
    """Whether the first file in it, but for hidden ones, is one, by the mark after its preamble (DICOM PS3.10, 7.1)."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.stem.upper() not in _NO_IMAGES:
            with path.open("rb") as file:
                return file.read(132)[128:] == b"DICM"
    return False


def _attempt(work: Work, case: Case) -> Outcome:
    try:
        work(case)
    except CancelledError:
        raise
    except InfNetError as error:
        return Outcome(case, error)
    except Exception as error:  # whatever it is, the other cases go on
        return Outcome(case, InfNetError(f"{case.ct}: {type(error).__name__}: {error}"))
    return Outcome(case, None)


def _outcomes_of_cluster(
    cases: Sequence[Case], work: Work, workers: int, scheduler: str | None, ended: Callable[[int], None]
) -> Iterator[Outcome]:
    try:
        from distributed import Client, LocalCluster, wait
        from distributed import TimeoutError as NoneEndedError  # not Python's own before 3.11
    except ImportError as error:
        raise MissingPackageError("Several workers need Dask: pip install distributed.") from error
    try:
        cluster = scheduler or LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # Dask would hold a worker at 80 % of its share; a CT comes and goes
            dashboard_address=None,
            silence_logs="ERROR",
        )
        client = Client(cluster)  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # TypeError: TLS without its settings
        told = f"{scheduler}: no Dask scheduler answers there" if scheduler else "Dask cannot start its workers"
        raise InfNetError(f"{told} ({error}).") from error
    with client:
        try:
            futures = client.map(partial(_attempt, work), cases, pure=False)
            pending = dict(zip(futures, cases, strict=True))
            while pending:
                try:
                    done, _ = wait(  # type: ignore[no-untyped-call]
                        list(pending), timeout=_STOP_IS_LOOKED_FOR_S, return_when="FIRST_COMPLETED"
                    )
                except NoneEndedError:
                    ended(len(cases) - len(pending))
                    continue
                for future in done:
                    case = pending.pop(future)
                    if future.status == "finished":
                        yield future.result()
                    else:  # the workers that had it died: Dask gives a case to four, one after the other
                        yield Outcome(case, InfNetError(f"{case.ct}: the workers died of it (memory?)."))
        finally:
            if not isinstance(cluster, str):
                cluster.close()
