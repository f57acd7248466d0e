"""What a finished training is worth: Dice on the slices that were kept from it."""

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from InfNetTrainingLib.TrainingConfig import HELD_OUT_FOLDER


@dataclass(frozen=True)
class Outcome:
    """dice - {what: {slice: Dice}} on the held-out slices: of each model, or of each finding
    isComparison - whether there are two models, of which the second is the trained one
    """

    dice: dict
    isComparison: bool = False

    def lines(self):
        """What the panel says."""
        from infnet.evaluation.statistics import compare, summarise

        if not self.dice:
            return [_("No slices were held out, so the Dice on unseen slices is not known.")]
        lines = []
        images = {name: [{"dice": value} for value in values.values()] for name, values in self.dice.items()}
        for name, values in images.items():
            summary = summarise(values)
            interval = _interval(summary["confidence"]["dice"])
            lines.append(
                _("Held-out Dice, {name}: {mean:.3f}{interval}, {count} slices").format(
                    name=name, mean=summary["mean"]["dice"], interval=interval, count=len(values)
                )
            )
        if self.isComparison:
            before, after = images.values()
            difference = compare(after, before)
            lines.append(
                _("Difference: {mean:+.3f}{interval}; better in {better}, worse in {worse}").format(
                    mean=difference["mean"],
                    interval=_interval(difference["confidence"]),
                    better=difference["better"],
                    worse=difference["worse"],
                )
            )
        return lines


def readOutcome(folder, config):
    """The `Outcome` of a run, of which the parts may be missing while it is not finished."""
    folder, labelled = Path(folder), Path(config.labelledFolder)
    heldOut = folder / HELD_OUT_FOLDER / "predictions"
    if config.tellsFindings:
        names = {1: _("ground-glass opacity within the infection"), 2: _("consolidation within the infection")}
        return Outcome(_present({name: _diceOfFinding(heldOut, labelled, label) for label, name in names.items()}))
    places = {
        _("this recipe without the held-out slices"): heldOut,
        _("labels alone"): folder / "predictions" / "supervised",
        _("semi-supervised"): folder / "predictions" / "semi-supervised",
    }
    dice = _present({name: _diceOf(place, labelled) for name, place in places.items()})
    return Outcome(dice, isComparison=len(dice) == 2)


def _present(dice):
    return {name: values for name, values in dice.items() if values}


def _diceOf(predictions, labelledFolder):
    """Dice at 0.5 of each predicted slice whose mask is still there."""
    from infnet.data.labelled_slices import read_grey, read_labels
    from infnet.evaluation.metrics import dice

    values = {}
    isSoft = (labelledFolder / "Soft").is_dir()
    for path, truthPath in _predicted(predictions, labelledFolder / ("Soft" if isSoft else "GT")):
        truth = read_grey(truthPath) >= 128 if isSoft else read_labels(truthPath) > 0
        values[path.stem] = dice(read_grey(path) >= 128, truth)
    return values


def _diceOfFinding(predictions, labelledFolder, label):
    """Dice of each slice that has this finding, the infection being that of its labels (as in cross-validation)."""
    from infnet.data.labelled_slices import read_grey, read_labels
    from infnet.evaluation.metrics import dice

    values = {}
    for path, truthPath in _predicted(predictions, labelledFolder / "GT"):
        truth = read_labels(truthPath)
        if (truth == label).any():
            isConsolidation = read_grey(path) >= 128
            values[path.stem] = dice((truth > 0) & (isConsolidation == (label == 2)), truth == label)
    return values


def _predicted(predictions, truthFolder):
    """(prediction, truth) of each predicted slice, as paths."""
    pairs = [(path, truthFolder / path.name) for path in sorted(predictions.glob("[!.]*.png"))]
    return [(path, truthPath) for path, truthPath in pairs if truthPath.is_file()]


def _interval(interval):
    return "" if interval is None else _(" (95 % {:.3f} to {:.3f})").format(*interval)
