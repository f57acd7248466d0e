"""From a case (a CT, with what is known of it) to its study: lungs, findings, lobes and measurements."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import SimpleITK as sitk

import infnet
from infnet.anatomy.contrast import AGENT_TAG
from infnet.anatomy.envelope import with_infected_lung
from infnet.anatomy.lobes import segment_lobes
from infnet.anatomy.lungs import SOURCE, lung_warnings, segment_lungs
from infnet.data.volumes import dicom_tags, read_ct
from infnet.devices import device_name
from infnet.errors import InfNetError, InputNotFoundError, InvalidStudyError
from infnet.inference.mirror_images import MIRRORINGS
from infnet.inference.predictor import SlicePredictor
from infnet.inference.runtimes import choose_runtime
from infnet.inference.slices import SliceLook
from infnet.inference.stages import Seconds, timed
from infnet.inference.volume import LungMap, segment_volume
from infnet.quantification.label_images import AS_GIVEN, read_lungs
from infnet.quantification.lesions import without_small_lesions
from infnet.quantification.measurements import measure, voxel_ml
from infnet.quantification.study import Study, read_study, write_study
from infnet.reporting import Progress, silent
from infnet.weights.cards import DEFAULT_MODELS, find_card, findings_model, read_card

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

    Lesions of less than ``minimum_lesion_ml`` are left out (`infnet.quantification.lesions`). ``smoothing_mm`` is the
    standard deviation of the mean over neighbouring slices' maps (`infnet.inference.joining`); 0: each by itself.
    ``mirror_images``: how many of each slice are averaged (`infnet.inference.mirror_images`).
    ``lobe_source`` is one of `infnet.anatomy.lobes.SOURCES`, or `NO_LOBES`.
    """

    model: str | None = None
    labels_model: str | None = None
    threshold: float | None = None
    minimum_lesion_ml: float = 0.0
    smoothing_mm: float = 4.0
    mirror_images: int = len(MIRRORINGS)
    device: str = "auto"
    lobe_source: str = "auto"
    precision: str = "32"
    runtime: str = "auto"
    trust_hu: bool = False


@dataclass(frozen=True)
class SegmentedCase:
    """A study that is not on disk yet, and its images on the CT's grid (see `infnet.quantification.study`)."""

    study: Study
    findings: sitk.Image
    lungs: sitk.Image
    lobes: sitk.Image | None
    infection: LungMap
    candidates: LungMap

    def write(self) -> None:
        """Write it into the study's folder. Raises `OutputError`."""
        write_study(self.study, self.findings, self.lungs, self.lobes, self.infection.write, self.candidates.write)


def segment_case(
    case: Case,
    settings: Settings,
    ct: sitk.Image,
    warnings: list[str],
    load: Callable[[], SlicePredictor],
    folder: Path = Path(),
    seconds: Seconds | None = None,
    progress: Progress = silent,
) -> SegmentedCase:
    """Segment and measure a CT that was read with these warnings. ``seconds`` are of the stages before.

    The predictor is loaded in a second thread while the lungs are found, and not kept. Raises `NoLungError`, and
    `InputError` for a lung or lobe segmentation that cannot be used.
    """
    seconds = dict(seconds or {})
    given = inputs(case, settings)  # a file that is not there ends the work here
    lungs, predictor = _lungs_and_predictor(case, ct, load, seconds, progress)
    missed = lung_warnings(lungs)
    look = SliceLook(window=predictor.window)
    with timed(seconds, "back-mapping"):
        segmented = segment_volume(
            ct, predictor, lungs, look, predictor.threshold, progress, seconds, settings.smoothing_mm
        )
    seconds["back-mapping"] -= seconds["network"]
    asked = {**predictor.provenance, "threshold": predictor.threshold}
    more_warnings = predictor.warnings
    del predictor  # and with it the memory of the networks, for the rest of the work
    with timed(seconds, "back-mapping"):
        findings = _without_small_lesions(segmented.labels, settings.minimum_lesion_ml)
        if case.lungs is None:  # a mask that is given is the user's, and stays as it is
            # Consolidated lung, which the mask had lacked, belongs to the lungs and to a lobe too.
            lungs = with_infected_lung(lungs, findings)
    series_uid, contrast_agent = dicom_tags(case.ct, "0020|000e", AGENT_TAG)
    lobes = None
    if case.lobes is not None or settings.lobe_source != NO_LOBES:
        source = "auto" if settings.lobe_source == NO_LOBES else settings.lobe_source
        with timed(seconds, "lobes"):
            lobes = segment_lobes(ct, lungs, source, case.lobes, progress)
    with timed(seconds, "quantification"):
        measured = measure(ct, findings, lungs, lobes, contrast_agent)
    warnings = [*warnings, *more_warnings, *missed, *measured.warnings]
    sources = {"lungs": case.lungs.name + AS_GIVEN if case.lungs else SOURCE, **measured.sources}
    provenance = {
        "use": "research only, not for clinical decisions",
        **asked,
        "ct": case.ct.name,
        **({"series_instance_uid": series_uid} if series_uid else {}),
        **sources,
        "window_hu": list(look.window),
        "minimum_lesion_ml": settings.minimum_lesion_ml,
        "smoothing_mm": settings.smoothing_mm,
        "smallest_crop": look.smallest_crop,
        "transposed": look.transposed,
        "slices": segmented.slices.with_lung,
        "slices_without_lung": segmented.slices.without_lung,
        "slices_without_infection": segmented.slices.without_infection,
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
        inputs=given,
        folder=folder,
    )
    return SegmentedCase(
        study, findings, lungs, lobes.image if lobes else None, segmented.infection, segmented.candidates
    )


def segment_into_study(case: Case, settings: Settings, studies: Path, progress: Progress = silent) -> None:
    """Read, segment and measure a case and write its study, ``studies/NAME``. Models are loaded once a process."""
    seconds: dict[str, float] = {}
    progress("read", 0, 1)
    begin_imports(settings)
    with timed(seconds, "read"):
        ct, warnings = read_ct(case.ct, settings.trust_hu)
    load = partial(_predictor, settings)
    segmented = segment_case(case, settings, ct, warnings, load, studies / case.name, seconds, progress)
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
        "minimum_lesion_ml": settings.minimum_lesion_ml,
        "smoothing_mm": settings.smoothing_mm,
        "mirror_images": settings.mirror_images,
        "lobe_source": settings.lobe_source,
        "precision": settings.precision,
        "date": case.date,
        "patient": case.patient,
        "infnet": infnet.__version__,
    }


def weights(settings: Settings) -> dict[str, str]:
    """SHA-256 of the models' weights, as in a study's provenance. Raises `UnknownModelError` or `InvalidModelError`."""
    infection = read_card(find_card(settings.model or DEFAULT_MODELS["infection"]))
    name = findings_model(infection, settings.labels_model)
    findings = infection if name is None else read_card(find_card(name))
    return {"infection_weights_sha256": infection.sha256, "findings_weights_sha256": findings.sha256}


def scan_date(ct: Path) -> str | None:
    """The date (YYYY-MM-DD) that the DICOM header of a CT tells, of the acquisition or else of the study, or None."""
    for day in dicom_tags(ct, "0008|0022", "0008|0020"):
        with suppress(ValueError):  # of none, or of no day, such as 00000000
            return date.fromisoformat(f"{day[:4]}-{day[4:6]}-{day[6:]}").isoformat()
    return None


def _lungs_and_predictor(
    case: Case, ct: sitk.Image, load: Callable[[], SlicePredictor], seconds: Seconds, progress: Progress
) -> tuple[sitk.Image, SlicePredictor]:
    """The one is read, or found while the other is loaded in a second thread."""
    if case.lungs:
        with timed(seconds, "lungs"):
            lungs = read_lungs(case.lungs, ct)
        with timed(seconds, "models"):
            return lungs, load()
    with ThreadPoolExecutor(max_workers=1) as thread:
        loading = thread.submit(load)

        def progress_while_loading(stage: str, done: int, total: int) -> None:
            if loading.done():
                loading.result()  # a model that cannot be had ends the work here
            progress(stage, done, total)

        with timed(seconds, "lungs"):
            lungs = segment_lungs(ct, progress_while_loading, case.ct)
        with timed(seconds, "models"):
            return lungs, loading.result()


def _without_small_lesions(findings: sitk.Image, minimum_ml: float) -> sitk.Image:
    labels = sitk.GetArrayViewFromImage(findings)
    kept = without_small_lesions(labels, minimum_ml, voxel_ml(findings))
    if kept is labels:  # no second volume in memory
        return findings
    image = sitk.GetImageFromArray(kept)
    image.CopyInformation(findings)
    return image


def begin_imports(settings: Settings) -> None:
    """Import PyTorch in a thread beside the caller, where it will run the networks."""

    def work() -> None:
        # Who asks for a predictor is told (OSError: of a DLL).
        with suppress(ImportError, OSError, InfNetError):
            if choose_runtime(settings.runtime, device_name(settings.device)) != "openvino":
                import_module("infnet.inference.runtimes.pytorch")

    Thread(target=work, daemon=True).start()


def load_predictor(settings: Settings) -> SlicePredictor:
    """The predictor that the settings name. Raises what `infnet.inference.predictor.SlicePredictor` raises."""
    return SlicePredictor.from_models(
        settings.model,
        settings.labels_model,
        settings.device,
        settings.precision,
        settings.runtime,
        settings.threshold,
        settings.mirror_images,
    )


_predictor = lru_cache(maxsize=1)(load_predictor)


def _fingerprint(path: Path) -> str:
    """Changes when a file, or a file of a folder, is written, added or taken away; reads no content."""
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file or folder.")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    told = [(file.name, status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()]]
    return hashlib.sha256(repr(told).encode()).hexdigest()
