"""What a finished training is worth, on the slices that were kept from it: what the backend's metrics.json tells."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

from InfNetTrainingLib.Curves import diceTitles
from InfNetTrainingLib.TrainingConfig import HELD_OUT_FOLDER


@dataclass(frozen=True)
class Outcome:
    """metrics - by the name of each measure, its mean, confidence interval and number of slices
    images - {slice: {measure: value}}, None where that is not defined
    before - the same of the model that it is compared with (name, metrics, images), and the dice_difference; or {}
    isOfRecipe - whether all this is of a training without the held-out slices, while the model has learnt from all
    cautions - what has to be known of these numbers, a sentence each
    """

    metrics: dict = field(default_factory=dict)
    images: dict = field(default_factory=dict)
    before: dict = field(default_factory=dict)
    isOfRecipe: bool = False
    cautions: tuple = ()

    def lines(self):
        """What the panel says: the means, with the 95 % confidence intervals of resampled slices."""
        if not self.metrics:
            return [*self.cautions]
        what = _("this recipe without the held-out slices") if self.isOfRecipe else _("semi-supervised")
        lines = _means(self.metrics, what)
        if self.before:
            start = _("{}, from which it started").format(self.before["name"])
            lines += _means(self.before["metrics"], start if self.isOfRecipe else _("labels alone"))
            difference = self.before["dice_difference"]
            lines.append(
                _("Difference: {mean:+.3f}{interval}; better in {better}, worse in {worse}").format(
                    mean=difference["mean"],
                    interval=_interval(difference["confidence"]),
                    better=difference["better"],
                    worse=difference["worse"],
                )
            )
            if self.isOfRecipe:
                lines.append(_("Whether that model has seen these slices is not known. If so, both are flattered."))
        return [*lines, *self.cautions]

    def table(self):
        """(headings, rows): of each slice, its measures by the trained model and, last, the Dice of the one before."""
        if not self.images:
            return [], []
        names = [name for name in self.metrics if name in diceTitles()]
        names += [name for name in ("sensitivity", "precision") if name in self.metrics]
        titles = {**diceTitles(), "sensitivity": _("Sensitivity"), "precision": _("Precision")}
        headings = [_("Slice"), *(titles[name] for name in names)]
        rows = [[stem, *(_value(values[name]) for name in names)] for stem, values in self.images.items()]
        if self.before:
            headings.append(_("Dice before"))
            for row in rows:
                row.append(_value(self.before["images"][row[0]]["dice"]))
        return headings, rows


def readOutcome(folder, config):
    """The `Outcome` of a run in its folder, without numbers where it has none (yet)."""
    if not config.holdOut:
        return Outcome(cautions=(_("No slices were held out, so the Dice on unseen slices is not known."),))
    path = Path(folder) / ("" if config.isSemiSupervised else f"{HELD_OUT_FOLDER}/fold-0") / "metrics.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        cautions = _cautions(config, told["images"])
        return Outcome(
            told["metrics"], told["images"], told.get("before", {}), not config.isSemiSupervised, tuple(cautions)
        )
    except (OSError, ValueError, KeyError) as error:
        caution = _("What was measured on the held-out slices cannot be read: {}").format(f"{path} ({error})")
        return Outcome(cautions=(caution,))


def _cautions(config, stems):
    from infnet.data.listing import volumes_of
    from infnet.errors import InputError

    if config.tellsFindings:
        yield _(
            "Measured within the infection as it is labelled. In use it is what a network has found, and such figures "
            "are usually lower."
        )
    volumes = {}
    with suppress(InputError):
        volumes = volumes_of(Path(config.labelledFolder))
    if all(stem in volumes for stem in stems):
        yield _(
            "The slices are of {} CTs or patients, whose labels were all held out. The intervals are those of slices; "
            "between patients there is more to expect."
        ).format(len({volumes[stem] for stem in stems}))
    else:
        yield _(
            "Which CTs the slices are of is not known. If other slices of these CTs were learnt from, the figures are "
            "flattered."
        )


def _means(metrics, what):
    return [
        _("Held-out {title}, {what}: {mean:.3f}{interval}, {count} slices").format(
            title=title,
            what=what,
            mean=metrics[name]["mean"],
            interval=_interval(metrics[name]["confidence"]),
            count=metrics[name]["images"],
        )
        for name, title in diceTitles().items()
        if name in metrics and metrics[name]["mean"] is not None
    ]


def _value(value):
    return "" if value is None else f"{value:.3f}"


def _interval(interval):
    return "" if interval is None else _(" (95 % {:.3f} to {:.3f})").format(*interval)
