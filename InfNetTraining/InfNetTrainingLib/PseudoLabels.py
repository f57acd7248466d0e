"""The pseudo-labels of a run as files, and a person's word on them, which the backend heeds."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

USED, UNSTABLE, REJECTED, CORRECTED = "used", "unstable", "rejected", "corrected"


@dataclass(frozen=True)
class PseudoLabel:
    """infected - share of the picture; stability - see ``infnet semi-supervised --help``; both None if not yet known
    use - "used", "unstable", "rejected" or "corrected": what the next training does with it
    """

    stem: str
    infected: float | None = None
    stability: float | None = None
    use: str = USED


class PseudoLabels:
    """Those of the run in ``folder``."""

    def __init__(self, folder):
        self._folder = Path(folder)

    def rounds(self):
        """The folders' names, in their order: round-001, …; and at the end "pseudo-labels"."""
        names = sorted(path.parent.name for path in self._folder.glob("round-*/Soft"))
        return [*names, *(["pseudo-labels"] if (self._folder / "pseudo-labels/Soft").is_dir() else [])]

    def of(self, round):
        """The `PseudoLabel` of each slice of a round."""
        rejected = self._rejected()
        told = self._listing(round)
        labels = []
        for path in sorted((self._folder / round / "Soft").glob("[!.]*.png")):
            row = told.get(path.stem, {})
            use = UNSTABLE if row.get("use") == UNSTABLE else USED
            if path.stem in rejected:
                use = REJECTED
            elif self._correction(path.stem).is_file():
                use = CORRECTED
            values = (float(row[name]) if name in row else None for name in ("infected", "stability"))
            labels.append(PseudoLabel(path.stem, *values, use))
        return labels

    def image(self, round, stem):
        """The slice (H, W) uint8."""
        from infnet.data.labelled_slices import read_grey

        return read_grey(self._folder / round / "Imgs" / f"{stem}.png")

    def mask(self, round, stem):
        """Where the infection is taken to be (H, W) bool: as corrected, or else the network's, at 0.5."""
        from infnet.data.labelled_slices import read_grey, read_labels

        if self._correction(stem).is_file():
            return read_labels(self._correction(stem)) > 0
        return read_grey(self._folder / round / "Soft" / f"{stem}.png") >= 128

    def overview(self, round):
        """Path of the picture of many slices of a round, or None where it is not made yet."""
        path = self._folder / round / "montage.png"
        return path if path.is_file() else None

    def reject(self, stem, isRejected=True):
        """Leave a slice out of the trainings to come, or take it in again."""
        from infnet.data.files import written_whole

        stems = self._rejected() - {stem} | ({stem} if isRejected else set())
        with written_whole(self._folder / "rejected.txt") as temporary:
            temporary.write_text("".join(f"{stem}\n" for stem in sorted(stems)), encoding="utf-8")

    def correct(self, stem, mask):
        """Train on ``mask`` (H, W) bool instead of the network's; an empty one says that the slice is healthy."""
        from infnet.data.files import written_whole
        from PIL import Image

        path = self._correction(stem)
        path.parent.mkdir(exist_ok=True)
        with written_whole(path) as temporary:
            Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(temporary)
        self.reject(stem, isRejected=False)

    def withdraw(self, stem):
        """Take back a correction: the network's word counts again."""
        self._correction(stem).unlink(missing_ok=True)

    def _correction(self, stem):
        return self._folder / "corrections" / f"{stem}.png"

    def _rejected(self):
        path = self._folder / "rejected.txt"
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
        return {line.strip() for line in lines} - {""}

    def _listing(self, round):
        from infnet.data.listing import read_rows
        from infnet.errors import InputError

        with suppress(InputError):  # there is none, or a spreadsheet has made another file of it
            return {row["file"]: row for row in read_rows(self._folder / round)}
        return {}
