"""What a finished training is worth: Dice on the slices that were kept from it."""

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from InfNetTrainingLib.TrainingConfig import HELD_OUT_FOLDER


@dataclass(frozen=True)
class Outcome:
    """dice - {model: {slice: Dice}} on the held-out slices; the last model is the trained one
    montages - pictures of the pseudo-labels, round by round
    """

    dice: dict
    montages: list

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
        if len(images) == 2:
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
    folder = Path(folder)
    places = {
        _("this recipe without the held-out slices"): folder / HELD_OUT_FOLDER / "predictions",
        _("labels alone"): folder / "predictions" / "supervised",
        _("semi-supervised"): folder / "predictions" / "semi-supervised",
    }
    dice = {name: _diceOf(place, Path(config.labelledFolder)) for name, place in places.items() if place.is_dir()}
    montages = sorted(folder.glob("round-*/montage.png")) + sorted(folder.glob("pseudo-labels/montage.png"))
    return Outcome({name: values for name, values in dice.items() if values}, montages)


def _diceOf(predictions, labelledFolder):
    """Dice at 0.5 of each predicted slice whose mask is still there."""
    from infnet.data.labelled_slices import read_grey, read_labels
    from infnet.evaluation.metrics import dice

    values = {}
    isSoft = (labelledFolder / "Soft").is_dir()
    for path in sorted(predictions.glob("*.png")):
        truthPath = labelledFolder / ("Soft" if isSoft else "GT") / path.name
        if truthPath.is_file() and not path.name.startswith("."):
            truth = read_grey(truthPath) >= 128 if isSoft else read_labels(truthPath) > 0
            values[path.stem] = dice(read_grey(path) >= 128, truth)
    return values


def _interval(interval):
    return "" if interval is None else _(" (95 % {:.3f} to {:.3f})").format(*interval)
