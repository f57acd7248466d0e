"""Labelled slices that every test can make."""

import numpy as np
from PIL import Image


def make_slices(folder, count=6, size=(72, 60), seed=0):
    """Labelled slices of a toy disease: bright discs (GGO) and brighter squares (consolidation) in dark noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(size)
    for name in ("Imgs", "GT"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        labels = np.zeros(size, np.uint8)
        r, c = random.integers(15, 45, 2)
        labels[(rows - r) ** 2 + (columns - c) ** 2 < 120] = 1
        labels[r - 4 : r + 4, c - 4 : c + 4] = 2
        grey = np.choose(labels, (60, 140, 220)) + random.normal(0, 8, size)
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / "Imgs" / f"{i}.png")
        Image.fromarray(labels).save(folder / "GT" / f"{i}.png")
    return folder
