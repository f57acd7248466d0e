"""A look at the slices before anything is trained on them: what there is, and what is wrong with which."""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

_SMALLEST_SIDE = 32  # pixels: the deepest features of the networks have one value for as many
_MOST_SIZES_TOLD = 3


@dataclass(frozen=True)
class Problem:
    """case - the slice or folder at fault; isError - whether training cannot run with it"""

    case: str
    text: str
    isError: bool = True


@dataclass
class DataReport:
    """What the folders hold. ``healthy`` counts the labelled slices whose mask is empty."""

    labelled: int = 0
    healthy: int = 0
    withConsolidation: int = 0
    softTruths: int = 0
    unlabelled: int = 0
    sizes: Counter = field(default_factory=Counter)
    problems: list = field(default_factory=list)

    @property
    def canTrain(self):
        return not any(problem.isError for problem in self.problems)

    def summary(self):
        """A few lines for the panel."""
        lines = [_("{} labelled slices, {} of them with an empty mask").format(self.labelled, self.healthy)]
        if self.withConsolidation:
            lines.append(_("{} slices tell consolidation (label 2) apart").format(self.withConsolidation))
        if self.softTruths:
            lines.append(_("{} truths are probabilities (folder Soft)").format(self.softTruths))
        if self.unlabelled:
            lines.append(_("{} unlabelled slices").format(self.unlabelled))
        common = ", ".join(f"{width} x {height}" for (height, width), _n in self.sizes.most_common(_MOST_SIZES_TOLD))
        more = len(self.sizes) - _MOST_SIZES_TOLD
        if common:
            lines.append(_("Sizes: {}").format(common + (_(" and {} others").format(more) if more > 0 else "")))
        errors = sum(problem.isError for problem in self.problems)
        lines.append(_("{} errors, {} warnings").format(errors, len(self.problems) - errors))
        return "\n".join(lines)


def recognisedFolders(folder):
    """The folders of labelled and of unlabelled slices within ``folder``, or None for one that is not there.

    A folder with Imgs is meant itself. Else the layout of COVID-SemiSeg is recognised, as it is distributed
    (LungInfection-Train/Doctor-label and Pseudo-label), or with folders called labelled and unlabelled.
    """
    folder = Path(folder)
    if (folder / "Imgs").is_dir():
        return folder, None
    if not folder.is_dir():
        return None, None
    candidates = sorted(
        path.parent for depth in range(1, 5) for path in folder.glob("*/" * depth + "Imgs") if path.is_dir()
    )
    labelled = unlabelled = None
    for candidate in candidates:
        name = str(candidate.relative_to(folder)).lower()
        if "pseudo" in name or "unlabel" in name:
            unlabelled = unlabelled or candidate
        elif "test" not in name and "multi" not in name and _hasTruth(candidate):
            labelled = labelled or candidate
    return labelled, unlabelled


def checkData(labelledFolder, unlabelledFolder=None):
    """Look at every slice and mask. Returns the `DataReport`."""
    check = DataCheck(labelledFolder, unlabelledFolder)
    for _done, _total in check.steps():
        pass
    return check.report


class DataCheck:
    """The check in steps, so that a panel can go on living meanwhile."""

    def __init__(self, labelledFolder, unlabelledFolder=None):
        self.report = DataReport()
        self._labelledFolder = Path(labelledFolder)
        self._unlabelledFolder = Path(unlabelledFolder) if unlabelledFolder else None
        self._firstOf = {}  # digest of an image: where it was met first

    def steps(self):
        """Yields (slices looked at, all slices)."""
        from infnet.errors import InputError

        labelled = self._images(self._labelledFolder)
        unlabelled = self._images(self._unlabelledFolder) if self._unlabelledFolder else []
        if (self._labelledFolder / "GT").is_dir() and (self._labelledFolder / "Soft").is_dir():
            self._problem(self._labelledFolder, _("holds both GT and Soft; move one of them away"))
            labelled = []
        total = len(labelled) + len(unlabelled)
        for done, path in enumerate(labelled + unlabelled, start=1):
            try:
                if done <= len(labelled):
                    self._checkLabelled(path)
                else:
                    self._checkUnlabelled(path)
            except InputError as error:
                self._problem(path, str(error).removeprefix(f"{path}: "))
            yield done, total
        self._checkSplit()
        if labelled and self.report.labelled < 2:
            self._problem(self._labelledFolder, _("training needs two or more slices that can be used"))
        if self.report.labelled and self.report.healthy == self.report.labelled:
            self._problem(self._labelledFolder, _("every mask is empty: there is nothing to learn"))

    def _images(self, folder):
        from infnet.data.labelled_slices import find_images
        from infnet.errors import InputError, InputNotFoundError

        try:
            return find_images(folder / "Imgs")
        except InputNotFoundError:
            self._problem(folder, _("holds no folder “Imgs” with pictures; make slices of CTs first"))
        except InputError as error:
            self._problem(folder, str(error))
        return []

    def _checkLabelled(self, path):
        from infnet.data.labelled_slices import Slice, read_fitting, read_grey, read_labels

        slice_ = Slice(path.stem, read_grey(path))
        folder = self._labelledFolder
        isSoft = (folder / "Soft").is_dir()
        truthPath = folder / ("Soft" if isSoft else "GT") / f"{path.stem}.png"
        truth = read_fitting(slice_, truthPath, read_grey if isSoft else read_labels)
        self.report.labelled += 1
        self.report.softTruths += isSoft
        self.report.withConsolidation += not isSoft and bool((truth == 2).any())
        if not truth.any():
            self.report.healthy += 1
            self._problem(path, _("its mask is empty; it counts as healthy"), isError=False)
        self._look(path, slice_.image)

    def _checkUnlabelled(self, path):
        from infnet.data.labelled_slices import read_grey

        image = read_grey(path)
        self.report.unlabelled += 1
        self._look(path, image)

    def _checkSplit(self):
        """Slices are held out one by one, not CT by CT."""
        listing = self._labelledFolder / "slices.csv"  # of infnet prepare
        if not listing.is_file():
            return
        with listing.open(encoding="utf-8", newline="") as file:
            slicesOf = Counter(row.get("volume") for row in csv.DictReader(file))
        several = sum(count > 1 for count in slicesOf.values())
        if several:
            text = _(
                "{} CTs have several slices each, which a held-out fifth separates from their neighbours: its Dice is "
                "flattered; measure on CTs of their own"
            )
            self._problem(listing, text.format(several), isError=False)

    def _look(self, path, image):
        """What can be odd about any picture."""
        self.report.sizes[image.shape] += 1
        if min(image.shape) < _SMALLEST_SIDE:
            self._problem(path, _("only {} x {} pixels").format(*image.shape[::-1]), isError=False)
        if np.ptp(image) == 0:
            self._problem(path, _("one grey value only"), isError=False)
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        first = self._firstOf.setdefault(digest, path)
        if first is not path:
            where = first.parent.parent.name + "/" + first.name if first.parent != path.parent else first.name
            self._problem(path, _("the same picture as {}").format(where), isError=False)

    def _problem(self, path, text, isError=True):
        self.report.problems.append(Problem(path.name, text, isError))


def _hasTruth(folder):
    return (folder / "GT").is_dir() or (folder / "Soft").is_dir()
