"""Pseudo-labels as files: what the network said of a slice, to look at, to correct and to reject.

A folder of them is one of labelled slices too (`infnet.data.labelled_slices`)::

    Imgs/STEM.png       the slice
    Soft/STEM.png       probability of infection, 0..255
    Consolidation/STEM.png  by a network that tells the findings apart: that of consolidation where there is infection
    Edge/STEM.png       boundary of the infection at 0.5
    montage.png         up to 100 of them side by side, the boundary in red
    slices.csv          each with its share of infected pixels, its stability, and whether it is trained on
"""

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from infnet.data.files import written_whole
from infnet.data.labelled_slices import (
    LabelledSlice,
    Slice,
    read_fitting,
    read_grey,
    read_labels,
    with_soft_truth,
)
from infnet.data.listing import IMAGE_SUFFIXES
from infnet.errors import InputError, OutputError
from infnet.training.held_out import Maps
from infnet.training.losses import edges

_TILE, _MOST_TILES = 160, 100  # of the montage


def is_written(folder: Path, slice_: Slice) -> bool:
    """Whether ``folder`` has the pseudo-label of ``slice_``."""
    return (folder / "Soft" / f"{slice_.stem}.png").is_file()


def write_pseudo_label(folder: Path, slice_: Slice, maps: Maps) -> None:
    """Write a slice, what a network for infection said of it, and the boundary. Raises OutputError."""
    soft = maps["predictions"]
    pictures = {"Imgs": slice_.image, "Edge": _boundary(soft)}
    if "consolidation" in maps:
        pictures["Consolidation"] = maps["consolidation"]
    pictures["Soft"] = soft  # The label comes last: where it is there, the others are.
    for name, picture in pictures.items():
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder / name}: cannot be made ({error.strerror}).") from error
        with written_whole(folder / name / f"{slice_.stem}.png") as temporary:
            Image.fromarray(picture).save(temporary)


@dataclass(frozen=True)
class Review:
    """What becomes of pseudo-labels before they are trained on.

    folder - where a person's word on them lies: ``rejected.txt``, a stem a line, of slices to leave out, and
        ``corrections/STEM.png``, masks or label images to use instead of the network's; a mask is ground glass
    hard - whether they are taken as masks, at 0.5, rather than as probabilities
    smallest_stability - of the pseudo-labels that are used, 0..1 (`stability`); a correction is always used
    """

    folder: Path
    hard: bool = False
    smallest_stability: float = 0.0

    def check(self, slices: Sequence[Slice]) -> None:
        """Raise InputError for a word that cannot be used, or is on none of ``slices``: it would not be heeded."""
        of_stem = {s.stem: s for s in slices}
        corrections = self.folder / "corrections"
        for path in sorted(corrections.iterdir()) if os.path.lexists(corrections) else []:
            if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if path.suffix != ".png" or path.stem not in of_stem:
                raise InputError(f"{path}: corrects no unlabelled slice; call it STEM.png, as the slice is called.")
            read_fitting(of_stem[path.stem], path, read_labels)
        if unknown := sorted(self._rejected() - of_stem.keys()):
            raise InputError(
                f"{self._list}: no unlabelled slice is called {unknown[0]}; give one name a line, without its ending."
            )

    def read(
        self, maps: Path, slices: Iterable[Slice], listing: Path, consolidation: Path | None = None
    ) -> list[LabelledSlice]:
        """The slices to train on, with truths from ``maps/STEM.png``; ``listing`` (CSV) says what became of each.

        ``consolidation``: the folder of maps that tell the findings apart, for a network that learns to.
        Raises InputError where a map is missing, damaged or of another size.
        """
        rejected = self._rejected()
        accepted, rows = [], []
        for s in slices:
            soft = read_fitting(s, maps / f"{s.stem}.png", read_grey)
            steady = stability(soft)
            correction = self.folder / "corrections" / f"{s.stem}.png"
            if s.stem in rejected:
                use = "rejected"
            elif correction.is_file():
                use = "corrected"
                accepted.append(LabelledSlice(s.stem, s.image, read_fitting(s, correction, read_labels)))
            elif steady < self.smallest_stability:
                use = "unstable"
            else:
                use = "used"
                truths = [soft]
                if consolidation is not None:
                    truths.append(read_fitting(s, consolidation / f"{s.stem}.png", read_grey))
                if self.hard:
                    truths = [np.where(map_ >= 128, np.uint8(255), np.uint8(0)) for map_ in truths]
                # Soft in either case: a network's empty mask makes no healthy slice.
                accepted.append(with_soft_truth(s, *truths))
            rows.append((s.stem, f"{(soft >= 128).mean():.4f}", f"{steady:.3f}", use))
        with written_whole(listing) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "infected", "stability", "use"), *rows])
        return accepted

    @property
    def _list(self) -> Path:
        return self.folder / "rejected.txt"

    def _rejected(self) -> set[str]:
        if self._list.exists() and not self._list.is_file():  # for a pipe one would wait
            raise InputError(f"{self._list}: not a file; give one slice's name a line there.")
        try:
            text = self._list.read_text(encoding="utf-8-sig") if os.path.lexists(self._list) else ""
        except (OSError, ValueError) as error:
            raise InputError(f"{self._list}: cannot be read ({error}); give one slice's name a line.") from error
        return {line.strip() for line in text.splitlines()} - {""}


def stability(soft: NDArray[np.uint8]) -> float:
    """How little a map depends on its threshold: the IoU of its masks at 0.25 and at 0.75, 1 if both are empty."""
    wide, narrow = int((soft >= 64).sum()), int((soft >= 192).sum())
    return narrow / wide if wide else 1.0


def write_montage(folder: Path, slices: Sequence[Slice]) -> None:
    """Write ``folder/montage.png`` of pseudo-labelled ``slices``, the infection's boundary in red."""
    shown = slices[:: -(-len(slices) // _MOST_TILES)]
    columns = int(np.ceil(np.sqrt(len(shown))))
    sheet = Image.new("RGB", (columns * _TILE, -(-len(shown) // columns) * _TILE))
    for i, s in enumerate(shown):
        maps = s.image, read_fitting(s, folder / "Soft" / f"{s.stem}.png", read_grey)
        grey, soft = (ImageOps.contain(Image.fromarray(map_), (_TILE, _TILE)) for map_ in maps)
        tile = np.stack([np.asarray(grey)] * 3, axis=-1)
        tile[_boundary(np.asarray(soft)) > 0] = (255, 0, 0)
        sheet.paste(Image.fromarray(tile), (i % columns * _TILE, i // columns * _TILE))
    with written_whole(folder / "montage.png") as temporary:
        sheet.save(temporary)


def _boundary(soft: NDArray[np.uint8]) -> NDArray[np.uint8]:
    mask = torch.from_numpy((soft >= 128).astype(np.float32))[None, None]
    return edges(mask)[0, 0].numpy().astype(np.uint8) * 255
