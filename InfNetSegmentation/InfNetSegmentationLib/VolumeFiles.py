"""Volumes written in pieces, between which the event loop turns: a large CT takes seconds, and Slicer goes on."""

import slicer

from InfNetSegmentationLib.Images import ijkToLPS

_CHUNK_BYTES = 16 * 1024**2


def volumeSteps(volumeNode, path):
    """Write a volume as raw NRRD, in its own coordinates: a transform above it is not applied.

    A generator, as `arraySteps`.
    """
    yield from arraySteps(slicer.util.arrayFromVolume(volumeNode), volumeNode, path, compressed=False)


def arraySteps(array, volumeNode, path, compressed=True):
    """Write an array (k, j, i) on the grid of ``volumeNode`` as NRRD. A generator: each step writes some megabytes."""
    with path.open("wb") as file:
        for chunk in volumeChunks(array, volumeNode, compressed):
            file.write(chunk)
            yield


def sameSteps(volumeNode, path):
    """Whether a file is what `volumeSteps` would write. A generator that returns it."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        for chunk in volumeChunks(slicer.util.arrayFromVolume(volumeNode), volumeNode, compressed=False):
            if file.read(len(chunk)) != chunk:
                return False
            yield
        return not file.read(1)


def volumeChunks(array, volumeNode, compressed):
    """The content of the NRRD file of an array (k, j, i), in pieces of some megabytes."""
    from infnet.data.nrrd import nrrd_chunks

    matrix = ijkToLPS(volumeNode)
    step = max(1, _CHUNK_BYTES // max(1, array[0].nbytes))
    slabs = (array[first : first + step] for first in range(0, len(array), step))
    return nrrd_chunks(slabs, array.dtype, array.shape[::-1], matrix[:3, :3], matrix[:3, 3], compressed)
