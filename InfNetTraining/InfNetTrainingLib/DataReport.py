"""What a look at the slices found."""

from collections import Counter
from dataclasses import dataclass, field

from slicer.i18n import tr as _

_MOST_SIZES_TOLD = 3


@dataclass(frozen=True)
class Problem:
    """case - the slice or folder at fault; isError - whether training cannot run with it"""

    case: str
    text: str
    isError: bool = True


@dataclass
class DataReport:
    """What the folders hold. ``healthy`` counts the labelled slices whose mask is empty.

    samples - a few labelled slices to look at: picture and truth, (H, W) uint8 each
    volumes - CTs or patients that the labelled slices are known to be of; heldOut - slices that would be held out
    """

    labelled: int = 0
    healthy: int = 0
    withConsolidation: int = 0
    softTruths: int = 0
    unlabelled: int = 0
    extra: int = 0
    volumes: int = 0
    heldOut: int = 0
    samples: list = field(default_factory=list)
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
        if self.extra:
            lines.append(_("{} extra slices").format(self.extra))
        if self.heldOut and self.volumes:
            lines.append(_("{} slices are held out, whole CTs of {}").format(self.heldOut, self.volumes))
        elif self.heldOut:
            lines.append(
                _("{} slices are held out, one by one: which CTs they are of is not known").format(self.heldOut)
            )
        common = ", ".join(f"{width} x {height}" for (height, width), _n in self.sizes.most_common(_MOST_SIZES_TOLD))
        more = len(self.sizes) - _MOST_SIZES_TOLD
        if common:
            lines.append(_("Sizes: {}").format(common + (_(" and {} others").format(more) if more > 0 else "")))
        errors = sum(problem.isError for problem in self.problems)
        lines.append(_("{} errors, {} warnings").format(errors, len(self.problems) - errors))
        return "\n".join(lines)
