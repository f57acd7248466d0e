"""A finished study on disk: a folder of label images, and ``result.json``, which says what was measured and how.

============================  ==========================================================================
``segmentation.seg.nrrd``     the findings (uint8: 1 ground-glass opacity, 2 consolidation), for 3D Slicer
``lungs.nrrd``                uint8: 1 right lung, 2 left lung
``lobes.nrrd``                where there are lobes; uint8, the n-th region of the table is label n
``infection.nrrd``            optional; float32, probability of infection
``candidates.nrrd``           optional; labels as the findings, from a lower probability on: the finding that each voxel
                              is at any threshold above
``result.json``               written last: where it is, the study is whole
============================  ==========================================================================

All images are on the CT's grid.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from infnet.data.files import read_json, written_together
from infnet.data.segmentations import write_segmentation
from infnet.data.volumes import read_image, write_image
from infnet.errors import InvalidStudyError
from infnet.quantification.measurements import TOTAL, Row

SCHEMA = "infnet-result/1"
RESULT = "result.json"
SEGMENTATION = "segmentation.seg.nrrd"
LUNGS, LOBES, INFECTION, CANDIDATES = "lungs.nrrd", "lobes.nrrd", "infection.nrrd", "candidates.nrrd"
FILES = (RESULT, SEGMENTATION, LUNGS, LOBES, INFECTION, CANDIDATES)
# Of the provenance, what comparisons and DICOM objects reckon with.
_NUMBERS = ("threshold", "smoothing_mm", "minimum_lesion_ml", "mirror_images")
_TEXTS = ("infnet", *(f"{task}_{what}" for task in ("infection", "findings") for what in ("model", "weights_sha256")))


@dataclass(frozen=True)
class Study:
    """What ``result.json`` says. The images are read when they are asked for.

    case - its name
    ct - the CT's path; it may be gone
    table - one row a region (`infnet.quantification.measurements.Row`)
    severity - CT severity score of all lobes, 0 to 25, or None
    sources - where findings, lungs and lobes come from, and whether the lobes are approximate
    provenance - models, weights' SHA-256, window, threshold, device, versions
    warnings - one sentence each
    seconds - duration of each stage
    date - of the scan, YYYY-MM-DD, or None
    patient - identifier, or None
    inputs - what the result depends on, by which a later run knows whether it still holds
    folder - where the study is; not in the file
    """

    case: str
    ct: Path
    table: list[Row]
    severity: int | None
    sources: Mapping[str, Any]
    provenance: Mapping[str, Any]
    warnings: list[str]
    seconds: Mapping[str, float]
    date: str | None = None
    patient: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    def findings(self) -> sitk.Image:
        """The findings' labels. This and the following raise `InputError` where a file is missing or damaged."""
        return read_image(self.folder / SEGMENTATION)

    def lungs(self) -> sitk.Image:
        return read_image(self.folder / LUNGS)

    def lobes(self) -> sitk.Image | None:
        """The lobes' labels, or None where the lobes were not told apart."""
        return self._image_if_there(LOBES)

    def infection(self) -> sitk.Image | None:
        """The probability of infection, or None where it was not kept."""
        return self._image_if_there(INFECTION)

    def _image_if_there(self, name: str) -> sitk.Image | None:
        path = self.folder / name
        return read_image(path) if path.exists() else None


def read_study(folder: Path) -> Study:
    """The study in ``folder``. Raises `InvalidStudyError` where there is none, or where it is not of this schema."""
    path = folder / RESULT
    try:
        values = read_json(path)
        if values["schema"] != SCHEMA:
            raise InvalidStudyError(f"{path}: its schema is {values['schema']}, not {SCHEMA}; make the study again.")
        values = {f.name: values[f.name] for f in fields(Study) if f.name in values}
        _check_types(values)
        return Study(**values | {"folder": folder, "ct": Path(values["ct"])})
    except OSError as error:
        raise InvalidStudyError(
            f"{folder}: no finished study ({RESULT}: {error.strerror}); infnet segment --study makes one."
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InvalidStudyError(f"{path}: damaged ({error}); make the study again.") from error


def _check_types(values: Mapping[str, Any]) -> None:
    """Raise ValueError where a field of ``result.json`` cannot be that of a study."""
    of_type = {str: ("case", "ct"), list: ("table", "warnings"), dict: ("sources", "provenance", "seconds", "inputs")}
    wrong = [
        name for kind, names in of_type.items() for name in names if not isinstance(values.get(name, kind()), kind)
    ]
    wrong += [name for name in ("date", "patient") if not isinstance(values.get(name), str | None)]
    if wrong:
        raise ValueError(f"wrong type of {', '.join(wrong)}")
    if not all(isinstance(warning, str) for warning in values["warnings"]):
        raise ValueError("a warning that is not text")
    if values.get("date") is not None:
        date.fromisoformat(values["date"])
    numbers = [values["severity"], *values["seconds"].values(), *(values["provenance"].get(name) for name in _NUMBERS)]
    texts = [*(values["provenance"].get(name) for name in _TEXTS), *map(values["sources"].get, ("lungs", "lobes"))]
    if None in values["seconds"].values() or not (
        _are_numbers(numbers) and all(isinstance(text, str | None) for text in texts)
    ):
        raise ValueError("wrong type of a value in severity, seconds, sources or provenance")
    for row in values["table"]:
        if not (isinstance(row, dict) and row.keys() == Row.__annotations__.keys() and isinstance(row["region"], str)):
            raise ValueError("a row of the table without the columns of one")
        if not _are_numbers([value for name, value in row.items() if name != "region"]):
            raise ValueError(f"the row {row['region']} has values that are not numbers")
    if not values["table"] or values["table"][-1]["region"] != TOTAL:
        raise ValueError("a table without the whole lungs")


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether each is a finite number, or None. Raises OverflowError for one beyond those of a float."""
    return all(value is None or (isinstance(value, int | float) and math.isfinite(value)) for value in values)


def write_study(
    study: Study,
    findings: sitk.Image,
    lungs: sitk.Image,
    lobes: sitk.Image | None = None,
    infection: sitk.Image | Callable[[Path], None] | None = None,
    candidates: Callable[[Path], None] | None = None,
) -> None:
    """Write a study into ``study.folder``; one that is there stays until the new one is whole. Raises `OutputError`.

    The images are those of the table above. ``infection`` may also be what writes it to a path, and ``candidates`` is:
    the largest by far need not be in memory.
    """
    folder = study.folder
    with (
        written_together(folder, last=RESULT, optional=(LOBES, INFECTION, CANDIDATES)) as new,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        # The largest takes as long as all others.
        writing = None if infection is None else thread.submit(_write, infection, new / INFECTION)
        write_segmentation(findings, new / SEGMENTATION, study.provenance)
        for name, image in ((LUNGS, lungs), (LOBES, lobes), (CANDIDATES, candidates)):
            if image is not None:
                _write(image, new / name)
        if writing:
            writing.result()
        write_result(study, new)


def _write(image: sitk.Image | Callable[[Path], None], path: Path) -> None:
    if callable(image):
        image(path)
    else:
        write_image(image, path)


def write_result(study: Study, folder: Path) -> None:
    """Write ``result.json`` alone, into ``folder``: for callers that write the images in another way."""
    values = {"schema": SCHEMA, **asdict(study), "ct": str(study.ct.absolute())}
    del values["folder"]
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / RESULT).write_text(text + "\n", encoding="utf-8")
