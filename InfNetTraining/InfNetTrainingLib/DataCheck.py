"""A look at the slices before anything is trained on them: what there is, and what is wrong with which."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from InfNetTrainingLib.DataReport import DataReport, Problem
from InfNetTrainingLib.TrainingConfig import FOLDS, TrainingConfig, holdsSlices

_SAMPLES = 6  # labelled slices to show
_SMALLEST_SIDE = 32  # pixels: the deepest features of the networks have one value for as many
# COVID-SemiSeg as it is distributed, chosen at any of its levels, or with the names of our documentation. No folder is
# searched: it may be the root of a disk, if only for a moment, while its path is typed.
_LEVELS = ("Dataset", "TrainingSet", "LungInfection-Train")
_LAYOUTS = (
    ("labelled", "unlabelled"),
    *(
        tuple("/".join([*_LEVELS[level:], name]) for name in ("Doctor-label", "Pseudo-label"))
        for level in range(len(_LEVELS) + 1)
    ),
)


def recognisedFolders(folder):
    """The folders of labelled and of unlabelled slices within ``folder``, or None for one that is not there.

    A folder with Imgs is meant itself. Else the layout of COVID-SemiSeg is recognised (`_LAYOUTS`).
    """
    folder = Path(folder)
    if holdsSlices(folder):
        return folder, None
    for names in _LAYOUTS:
        labelled, unlabelled = (folder / name for name in names)
        if holdsSlices(labelled) and _hasTruth(labelled):
            return labelled, unlabelled if holdsSlices(unlabelled) else None
    return None, None


def lookedAt(config):
    """What of a configuration a check depends on: two that are equal in it have the same report."""
    seed = config.seed if config.holdOut else 0
    same = TrainingConfig(config.labelledFolder, "", config.unlabelledFolder, config.extraFolders, config.kind)
    return replace(same, holdOut=config.holdOut, seed=seed)


def checkData(config):
    """Look at every slice and mask that a training would have. Returns the `DataReport`."""
    check = DataCheck(config)
    for _done, _total in check.steps():
        pass
    return check.report


class DataCheck:
    """The check in steps, so that a panel can go on living meanwhile."""

    def __init__(self, config):
        self.report = DataReport()
        self._config = config
        self._labelledFolder = Path(config.labelledFolder)
        self._heldOut = set()  # paths of the slices that would be held out
        self._sampled = set()  # paths of the labelled slices that are shown
        self._firstOf = {}  # digest of an image: where it was met first

    def steps(self):
        """Yields (slices looked at, all slices)."""
        from infnet.errors import InputError

        labelled = self._images(self._labelledFolder)
        extra = {Path(folder): self._images(Path(folder)) for folder in self._config.extraFolders}
        unlabelledFolders = [Path(self._config.unlabelledFolder)] if self._config.isSemiSupervised else []
        unlabelled = {folder: self._images(folder) for folder in unlabelledFolders}
        if (self._labelledFolder / "GT").is_dir() and (self._labelledFolder / "Soft").is_dir():
            self._problem(self._labelledFolder, _("holds both GT and Soft; move one of them away"))
            labelled = []
        self._checkSplit(labelled, {**unlabelled, **extra})
        self._sampled = set(labelled[:: max(1, -(-len(labelled) // _SAMPLES))])
        looks = [(self._checkLabelled, path) for path in labelled]
        looks += [(self._checkExtra, path) for paths in extra.values() for path in paths]
        looks += [(self._checkUnlabelled, path) for paths in unlabelled.values() for path in paths]
        for done, (look, path) in enumerate(looks, start=1):
            try:
                look(path)
            except InputError as error:
                self._problem(path, str(error).removeprefix(f"{path}: "))
            yield done, len(looks)
        report = self.report
        if labelled and report.labelled < 2:
            self._problem(self._labelledFolder, _("training needs two or more slices that can be used"))
        if report.labelled and report.healthy == report.labelled:
            self._problem(self._labelledFolder, _("every mask is empty: there is nothing to learn"))
        if self._config.tellsFindings and report.labelled and not report.withConsolidation:
            self._problem(self._labelledFolder, _("no mask has label 2, consolidation: findings cannot be learnt"))

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
        image, truth, isSoft = _labelled(path)
        if path in self._sampled:
            self.report.samples.append((image, np.where(truth >= 128, np.uint8(1), np.uint8(0)) if isSoft else truth))
        self.report.labelled += 1
        self.report.softTruths += isSoft
        self.report.withConsolidation += _tellsFindings(path) if isSoft else bool((truth == 2).any())
        if not truth.any():
            self.report.healthy += 1
            self._problem(path, _("its mask is empty; it counts as healthy"), isError=False)
        self._look(path, image)

    def _checkExtra(self, path):
        image, _truth, isSoft = _labelled(path)
        self.report.extra += 1
        if isSoft and self._config.tellsFindings and not _tellsFindings(path):
            self._problem(path, _("its truth is a probability, which does not tell the findings apart"))
        self._look(path, image)

    def _checkUnlabelled(self, path):
        from infnet.data.labelled_slices import read_grey

        image = read_grey(path)
        self.report.unlabelled += 1
        self._look(path, image)

    def _checkSplit(self, labelled, others):
        """What is held out are whole CTs, where the list of ``infnet prepare`` tells them.

        ``others``: {folder: its slices} of what is trained on and never held out
        """
        from infnet.training.folds import folds

        volumes = self._volumes(self._labelledFolder)
        ofOthers = {folder: self._volumes(folder) for folder in others}
        ofSlice = {path: volumes.get(path.stem) or path.stem for path in labelled}
        self.report.volumes = len(set(ofSlice.values())) if volumes else 0
        if not self._config.holdOut or not labelled:
            return
        unlisted = sum(path.stem not in volumes for path in labelled)
        if volumes and unlisted:
            text = _("slices.csv does not name {} of the slices: each is taken for a CT of its own").format(unlisted)
            self._problem(self._labelledFolder, text, isError=False)
        if len(set(ofSlice.values())) < FOLDS:
            what = _("CTs") if volumes else _("slices")
            text = _("{} {}: a fifth of them can be held out of five or more").format(len(set(ofSlice.values())), what)
            self._problem(self._labelledFolder, text)
            return
        stems = set(folds([path.stem for path in labelled], FOLDS, self._config.seed, volumes)[0])
        self._heldOut = {path for path in labelled if path.stem in stems}
        self.report.heldOut = len(self._heldOut)
        heldOutVolumes = {ofSlice[path] for path in self._heldOut}
        for folder, paths in others.items():
            for volume in sorted(heldOutVolumes & {ofOthers[folder].get(path.stem) for path in paths}):
                text = _("the CT {} is held out, but slices of it, to be learnt from, are in here").format(volume)
                self._problem(folder, text, isError=False)

    def _volumes(self, folder):
        """The CT or patient of each slice, by its stem, as far as that is known."""
        from infnet.data.listing import volumes_of
        from infnet.errors import InputError

        try:
            return volumes_of(folder)
        except InputError as error:
            self._problem(folder, str(error))
            return {}

    def _look(self, path, image):
        """What can be odd about any picture."""
        self.report.sizes[image.shape] += 1
        if min(image.shape) < _SMALLEST_SIDE:
            self._problem(path, _("only {} x {} pixels").format(*image.shape[::-1]), isError=False)
        if np.ptp(image) == 0:
            self._problem(path, _("one grey value only"), isError=False)
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        first = self._firstOf.setdefault(digest, path)
        if first is path:
            return
        where = first.parent.parent.name + "/" + first.name if first.parent != path.parent else first.name
        if (first in self._heldOut) != (path in self._heldOut):
            self._problem(path, _("the same picture as {}, and one of both is held out; remove one").format(where))
        else:
            self._problem(path, _("the same picture as {}").format(where), isError=False)

    def _problem(self, path, text, isError=True):
        self.report.problems.append(Problem(path.name, text, isError))


def _labelled(path):
    """A slice's picture, its truth, and whether that is a probability. Raises InputError."""
    from infnet.data.labelled_slices import Slice, read_fitting, read_grey, read_labels

    folder = path.parents[1]
    isSoft = (folder / "Soft").is_dir()
    slice_ = Slice(path.stem, read_grey(path))
    truthPath = folder / ("Soft" if isSoft else "GT") / f"{path.stem}.png"
    return slice_.image, read_fitting(slice_, truthPath, read_grey if isSoft else read_labels), isSoft


def _tellsFindings(path):
    """Whether beside a slice's probability of infection there is that of consolidation."""
    return (path.parents[1] / "Consolidation").is_dir()


def _hasTruth(folder):
    return (folder / "GT").is_dir() or (folder / "Soft").is_dir()
