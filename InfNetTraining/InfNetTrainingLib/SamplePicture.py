"""A few labelled slices as one picture."""

import io

import numpy as np

_TILE, _COLUMNS = 120, 3  # pixels of a slice, slices in a row: no wider than the panel
_COLORS = {1: (255, 60, 60), 2: (255, 220, 0)}  # of the outlines: infection or ground-glass opacity, consolidation


def samplePicture(samples):
    """The slices with their truths outlined, as the bytes of a PNG file; ``samples`` are those of a `DataReport`."""
    from PIL import Image, ImageOps

    sheet = Image.new("RGB", (_COLUMNS * _TILE, -(-len(samples) // _COLUMNS) * _TILE))
    for number, (picture, truth) in enumerate(samples):
        small = ImageOps.contain(Image.fromarray(picture), (_TILE, _TILE))
        tile = np.array(small.convert("RGB"))
        labels = np.asarray(Image.fromarray(truth).resize(small.size, Image.Resampling.NEAREST))
        for label, color in _COLORS.items():
            tile[_outline(labels == label)] = color
        sheet.paste(Image.fromarray(tile), (number % _COLUMNS * _TILE, number // _COLUMNS * _TILE))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _outline(mask):
    """The pixels of a mask (H, W) that have one outside beside them."""
    around = np.pad(mask, 1)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return mask & ~inner
