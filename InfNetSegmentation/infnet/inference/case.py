"""From a case (a CT, with what is known of it) to its study: lungs, findings, lobes and measurements."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

import infnet
from infnet.anatomy.lobes import segment_lobes
from infnet.anatomy.lungs import lung_warnings, segment_lungs
from infnet.data.volumes import dicom_tags, read_ct
from infnet.errors import InputNotFoundError, InvalidStudyError, NoLungError
from infnet.inference.slices import SliceLook
from infnet.inference.volume import segment_volume
from infnet.quantification.label_images import read_lungs
from infnet.quantification.measurements import measure
from infnet.quantification.study import Study, read_study, write_study
from infnet.reporting import Progress, silent
from infnet.weights.cards import DEFAULT_MODELS, find_card, read_card

if TYPE_CHECKING:  # it imports torch
    from infnet.inference.predictor import SlicePredictor

NO_LOBES = "none"


@dataclass(frozen=True)
class Case:
    """A CT, its name, and what is known of it. ``lungs`` and ``lobes`` are segmentations that are there already."""

    ct: Path
    name: str
    date: str | None = None
    patient: str | None = None
    lungs: Path | None = None
    lobes: Path | None = None


@dataclass(frozen=True)
class Settings:
    """How cases are segmented. None for a model is the shipped one, None for the threshold the model's own.

    ``lobe_source`` is one of `infnet.anatomy.lobes.SOURCES`, or `NO_LOBES`.
    """

    model: str | None = None
    labels_model: str | None = None
    threshold: float | None = None
    device: str = "auto"
    lobe_source: str = "auto"
    precision: str = "32"
    runtime: str = "auto"


@dataclass(frozen=True)
class SegmentedCase:
    """A study that is not on disk yet, and its images on the CT's grid (see `infnet.quantification.study`)."""

    study: Study
    findings: sitk.Image
    lungs: sitk.Image
    lobes: sitk.Image | None
    infection: sitk.Image

    def write(self) -> None:
        """Write it into the study's folder. Raises `OutputError`."""
        write_study(self.study, self.findings, self.lungs, self.lobes, self.infection)


def segment_case(
    case: Case,
    settings: Settings,
    ct: sitk.Image,
    warnings: list[str],
    predictor: "SlicePredictor",
    folder: Path = Path(),
    seconds: dict[str, float] | None = None,
    progress: Progress = silent,
) -> SegmentedCase:
    """Segment and measure a CT that was read with these warnings. ``seconds`` are of the stages before.

    Raises `NoLungError`, and `InputError` for a lung or lobe segmentation that cannot be used.
    """
    seconds = dict(seconds or {})
    with timed(seconds, "lungs"):
        lungs = _lungs(case, ct, progress)
    look = SliceLook(window=predictor.window)
    threshold = predictor.threshold if settings.threshold is None else settings.threshold
    with timed(seconds, "network"):
        segmented = segment_volume(ct, predictor, lungs, look, threshold, progress)
    lobes = None
    if case.lobes is not None or settings.lobe_source != NO_LOBES:
        source = "auto" if settings.lobe_source == NO_LOBES else settings.lobe_source
        with timed(seconds, "lobes"):
            # Of the lungs with what the mask had lacked: consolidated lung belongs to a lobe too.
            lobes = segment_lobes(ct, segmented.lungs, source, case.lobes, progress)
    with timed(seconds, "quantification"):
        measured = measure(ct, segmented.labels, segmented.lungs, lobes)
    warnings = [*warnings, *lung_warnings(lungs), *measured.warnings]
    sources = {"lungs": _lung_source(case), **measured.sources}
    (series_uid,) = dicom_tags(case.ct, "0020|000e")
    provenance = {
        "use": "research only, not for clinical decisions",
        **predictor.provenance,
        "ct": case.ct.name,
        **({"series_instance_uid": series_uid} if series_uid else {}),
        **sources,
        "window_hu": list(look.window),
        "smallest_crop": look.smallest_crop,
        "transposed": look.transposed,
        "threshold": threshold,
        "slices": segmented.slices,
        "warnings": warnings,
    }
    study = Study(
        case=case.name,
        ct=case.ct,
        table=measured.rows,
        severity=measured.severity,
        sources=sources,
        provenance=provenance,
        warnings=warnings,
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
        date=case.date or scan_date(case.ct),
        patient=case.patient,
        inputs=inputs(case, settings),
        folder=folder,
    )
    return SegmentedCase(study, segmented.labels, segmented.lungs, lobes.image if lobes else None, segmented.infection)


def segment_into_study(case: Case, settings: Settings, studies: Path, progress: Progress = silent) -> None:
    """Read, segment and measure a case and write its study, ``studies/NAME``. Models are loaded once a process."""
    seconds: dict[str, float] = {}
    progress("read", 0, 1)
    with timed(seconds, "read"):
        ct, warnings = read_ct(case.ct)
    with timed(seconds, "models"):
        predictor = _predictor(
            settings.model, settings.labels_model, settings.device, settings.precision, settings.runtime
        )
    segmented = segment_case(case, settings, ct, warnings, predictor, studies / case.name, seconds, progress)
    progress("write", 1, 1)
    segmented.write()


def is_finished(case: Case, settings: Settings, folder: Path) -> bool:
    """Whether ``folder`` holds the study that this case would have with these settings."""
    try:
        study = read_study(folder)
        models = {key: study.provenance.get(key) for key in weights(settings)}
        return study.inputs == inputs(case, settings) and models == weights(settings)
    except (InvalidStudyError, InputNotFoundError):
        return False


def inputs(case: Case, settings: Settings) -> dict[str, Any]:
    """What the result depends on beside the models: files (by name, size and time) and settings, as plain JSON.

    Raises `InputNotFoundError`.
    """
    files = {"ct": case.ct, "lungs": case.lungs, "lobes": case.lobes}
    return {
        **{key: path and _fingerprint(path) for key, path in files.items()},
        "threshold": settings.threshold,
        "lobe_source": settings.lobe_source,
        "date": case.date,
        "patient": case.patient,
        "infnet": infnet.__version__,
    }


def weights(settings: Settings) -> dict[str, str]:
    """SHA-256 of the models' weights, as in a study's provenance. Raises `UnknownModelError` or `InvalidModelError`."""
    models = {"infection": settings.model, "findings": settings.labels_model}
    return {
        f"{task}_weights_sha256": read_card(find_card(model or DEFAULT_MODELS[task])).sha256
        for task, model in models.items()
    }


def scan_date(ct: Path) -> str | None:
    """The date (YYYY-MM-DD) that the DICOM header of a CT tells, of the acquisition or else of the study, or None."""
    for date in dicom_tags(ct, "0008|0022", "0008|0020"):
        if len(date) == 8 and date.isdecimal():
            return f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return None


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note the duration of the block in ``seconds``."""
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _lungs(case: Case, ct: sitk.Image, progress: Progress) -> sitk.Image:
    if case.lungs is None:
        try:
            return segment_lungs(ct, progress)
        except NoLungError as error:
            raise NoLungError(f"{case.ct}: {error}") from error
    return read_lungs(case.lungs, ct)


def _lung_source(case: Case) -> str:
    return "threshold and morphology" if case.lungs is None else case.lungs.name


@lru_cache(maxsize=1)
def _predictor(
    model: str | None, labels_model: str | None, device: str, precision: str, runtime: str
) -> "SlicePredictor":
    from infnet.inference.predictor import SlicePredictor

    return SlicePredictor.from_models(model, labels_model, device, precision, runtime)


def _fingerprint(path: Path) -> str:
    """Changes when a file, or a file of a folder, is written, added or taken away; reads no content."""
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file or folder.")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    told = [(file.name, status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()]]
    return hashlib.sha256(repr(told).encode()).hexdigest()
