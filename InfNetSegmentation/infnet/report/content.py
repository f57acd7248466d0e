"""What a report says, whatever its form: texts, tables and pictures of one study, ready to be set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import SimpleITK as sitk

from infnet import __version__
from infnet.anatomy import regions
from infnet.data.findings import FINDINGS
from infnet.data.volumes import on_one_grid
from infnet.errors import GeometryError
from infnet.quantification.label_images import read_label_image
from infnet.quantification.measurements import Row
from infnet.quantification.study import LUNGS, SEGMENTATION, Study
from infnet.report.change import Change
from infnet.report.charts import chart
from infnet.report.layout import Fact, Figure, Table
from infnet.report.numbers import DASH, number, percent, signed
from infnet.report.pictures import LUNG_WINDOW, montage, projections
from infnet.report.tables import density_table, findings_table
from infnet.reporting import Progress, silent
from infnet.weights.cards import shipped_models

NOTICE = "For research; not for clinical decisions."

_TIMES = " \N{MULTIPLICATION SIGN} "

_NAMES = {
    "infnet": "InfNet version",
    "infection_weights_sha256": "Infection model, SHA-256",
    "findings_weights_sha256": "Findings model, SHA-256",
    "torch": "PyTorch version",
    "python": "Python version",
    "window_hu": "Window of the networks, HU",
    "threshold": "Threshold of infection, probability",
    "smallest_crop": "Smallest crop, share of the lungs' box",
    "transposed": "Slices transposed for the networks",
    "series_instance_uid": "Series Instance UID",
    "minimum_lesion_ml": "Smallest lesion that counts, mL",
    "smoothing_mm": "Averaged across slices, standard deviation in mm",
    "slices": "Slices with lung",
    "slices_without_infection": "Of these without infection by the model's gate",
    "mirror_images": "Mirror images averaged",
    "slices_sharing_mirror_images": "Slices in a row that share them",
    "mirrored_from": "Probability from which a slice's mirror images are averaged",
    "lungs": "Source of the lungs",
    "lobes": "Source of the lobes",
    "lobes_attribution": "Attribution of the lobes",
    "findings": "Source of the findings",
}
_TOLD_ELSEWHERE = ("use", "ct", "warnings", "lobes_approximate")


@dataclass(frozen=True)
class Report:
    """The parts of a report in their order; ``version`` is of the software that made it."""

    case: str
    header: Sequence[Fact]
    warnings: Sequence[str]
    summary: Sequence[Fact]
    findings: Table
    chart: Figure
    slices: Figure
    solid: Figure
    density: Table
    change: Change | None
    provenance: Sequence[Fact]
    limits: Sequence[str]
    version: str = __version__


def compose(
    study: Study, ct: sitk.Image, made: str, change: Change | None = None, progress: Progress = silent
) -> Report:
    """The report of a finished study; ``ct`` is its CT in HU, ``made`` the date of the report.

    Raises `InputError` where a label image is missing or damaged, `GeometryError` where it is not on the CT's grid.
    """
    findings = read_label_image(study.folder / SEGMENTATION, len(FINDINGS))
    lungs = read_label_image(study.folder / LUNGS, len(regions.LUNGS))
    if not (on_one_grid(ct, findings) and on_one_grid(ct, lungs)):
        raise GeometryError(
            f"{study.folder}: its images are not on the grid of the CT; name the study's own CT with --ct."
        )
    progress("pictures", 0, 3)
    slices = _slices(ct, findings, lungs)
    progress("pictures", 1, 3)
    solid = _solid(findings, lungs)
    progress("pictures", 2, 3)
    bars = _chart(study.table)
    progress("pictures", 3, 3)
    return Report(
        case=study.case,
        header=_header(study, ct, made),
        warnings=study.warnings,
        summary=_summary(study),
        findings=findings_table(study),
        chart=bars,
        slices=slices,
        solid=solid,
        density=density_table(study.table),
        change=change,
        provenance=_provenance(study),
        limits=_limits(study),
    )


def _size(image: sitk.Image) -> str:
    return _TIMES.join(str(size) for size in image.GetSize())


def _header(study: Study, ct: sitk.Image, made: str) -> list[Fact]:
    spacing = _TIMES.join(f"{mm:.2f}" for mm in ct.GetSpacing())
    axes = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(ct.GetDirection())
    facts = [
        Fact("Case", study.case),
        Fact("Date of the scan", study.date or "not known"),
        Fact("CT", study.ct.name),
        Fact("Geometry", f"{_size(ct)} voxels of {spacing} mm, axes {axes}"),
        Fact("Report made", f"{made}, InfNet {__version__}"),
    ]
    if study.patient:
        facts.insert(1, Fact("Patient", study.patient))
    return facts


def _summary(study: Study) -> list[Fact]:
    total = study.table[-1]
    facts = [
        Fact(name, f"{number(total[f'{key}_ml'])} mL ({percent(total[f'{key}_percent'])})")  # type: ignore[literal-required]
        for key, name in (
            ("infection", "Infection"),
            ("ggo", "Ground-glass opacity"),
            ("consolidation", "Consolidation"),
        )
    ]
    score = DASH if study.severity is None else f"{study.severity} of 25"
    return [*facts, Fact("CT severity score", score)]


def _slices(ct: sitk.Image, findings: sitk.Image, lungs: sitk.Image) -> Figure:
    low, high = LUNG_WINDOW
    return Figure(
        "Axial slices",
        montage(ct, findings, lungs),
        f"From head to feet, the patient's right on the left; window {signed(f'{low:.0f}')} to {high:.0f} HU, cropped "
        "to the lungs. Spread evenly, with more where disease is most. Each says the height of its middle "
        "(S, mm towards the head) and which share of the lung in it is infected.",
    )


def _solid(findings: sitk.Image, lungs: sitk.Image) -> Figure:
    return Figure(
        "In three dimensions",
        projections(findings, lungs),
        "The lungs as transparent surfaces, all at one scale. R right, L left, A front and P back of the patient.",
    )


def _chart(rows: Sequence[Row]) -> Figure:
    total = rows[-1]
    dense = None
    if total["poorly_aerated_percent"] is not None and total["non_aerated_percent"] is not None:
        dense = total["poorly_aerated_percent"] + total["non_aerated_percent"]
    return Figure(
        "Share of each region",
        chart(rows),
        f"The networks call {percent(total['infection_percent'])} of the lungs infected; by density alone, "
        f"{percent(dense)} are poorly or non-aerated. Density counts vessels, motion and the edges of the lungs too: "
        "the two are to be compared, neither is the truth.",
    )


def _provenance(study: Study) -> list[Fact]:
    values = dict(study.provenance) | dict(study.sources)
    facts = [
        Fact(_NAMES.get(key, key.replace("_", " ").capitalize()), _text(value, " to " if key == "window_hu" else ", "))
        for key, value in values.items()
        if key not in _TOLD_ELSEWHERE
    ]
    if study.sources.get("lobes_approximate"):
        name = _NAMES["lobes"]
        facts = [Fact(name, f"{fact.value} (approximate)") if fact.name == name else fact for fact in facts]
    if study.seconds:
        facts.append(Fact("Computing time", f"{math.fsum(study.seconds.values()):.0f} s"))
    return facts


def _text(value: Any, between: str = ", ") -> str:
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {_text(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return between.join(_text(part) for part in value)
    if isinstance(value, float):
        return signed(f"{value:g}")
    return str(value)


def _limits(study: Study) -> list[str]:
    shipped = {card.sha256: card.limits for card in shipped_models()}
    limits = []
    for task in ("infection", "findings"):
        if weights := study.provenance.get(f"{task}_weights_sha256"):
            name = study.provenance.get(f"{task}_model")
            limits.append(shipped.get(weights, f"The model {name} is not one that InfNet ships: see its card."))
    limits.append("Whether lungs, lobes and findings are outlined rightly in this case must be checked on the slices.")
    if study.sources.get("lobes_approximate"):
        limits.append("The borders between the lobes, or zones, are approximate, and so is what is said of each.")
    if any(row["severity"] is not None for row in study.table):
        limits.append("The severity score was defined for estimates by eye; scores from measured volumes can differ.")
    return list(dict.fromkeys(filter(None, limits)))
