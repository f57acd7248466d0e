import json
import zlib
from dataclasses import dataclass

import numpy as np
import slicer

from InfNetSegmentationLib.Images import labelsOf
from InfNetSegmentationLib.Regions import showLungsWithoutLobes
from InfNetSegmentationLib.Scene import FINDING_IDS, labelmapFromArray, replaceFindings, setProvenance, surfacesKept
from InfNetSegmentationLib.SegmentationResult import EDITED_ATTRIBUTE, storeResult

_STATES_KEPT = 20
_VALUES = ("table", "severity", "provenance", "warnings", "seconds")


@dataclass
class _State:
    """labels - of the findings, packed; candidates - packed too, with what is marked in them as corrected by hand, or
    None; values - JSON; isEdited - as of a result; regions, probability - only of a state before a run
    """

    labels: bytes
    candidates: bytes | None
    shape: tuple
    values: str
    isEdited: bool
    isBeforeRun: bool
    regions: object = None
    probability: object = None

    def unpacked(self, packed):
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self.shape)


class UndoHistory:
    """What results were before they were labelled anew, or before a run replaced all of them but the CT.

    Of each segmentation the last few states are kept, and what was before the last run.
    """

    def __init__(self):
        self._states = {}  # segmentation: [`_State`, …], the latest last

    def keep(self, result, labels=None, beforeRun=False):
        """Remember a result as it is now; ``labels`` are those of its segments, where they are known already."""
        if labels is None:
            labels = labelsOf(result.segmentationNode, FINDING_IDS, result.volumeNode)
        values = json.dumps({key: getattr(result, key) for key in _VALUES})
        candidates = result.candidatesNode and _packed(slicer.util.arrayFromVolume(result.candidatesNode))
        state = _State(_packed(labels), candidates, labels.shape, values, result.isEdited, beforeRun)
        states = self._states.setdefault(result.segmentationNode, [])
        if beforeRun:
            # A probability is large: there is one at most. A run puts another in its place, and changes it not.
            states[:] = states[1 + max((i for i, s in enumerate(states) if s.isBeforeRun), default=-1) :]
            state.probability = result.probabilityNode and result.probabilityNode.GetImageData()
            if result.regionsNode:
                state.regions = slicer.vtkSegmentation()
                state.regions.DeepCopy(result.regionsNode.GetSegmentation())
        states.append(state)
        del states[:-_STATES_KEPT]

    def canUndo(self, segmentationNode):
        return bool(self._states.get(segmentationNode))

    def undo(self, result):
        """Go back to the last state that was kept. Returns that result."""
        state = self._states[result.segmentationNode].pop()
        labels = state.unpacked(state.labels)
        replaceFindings(result.segmentationNode, labelmapFromArray(labels, result.volumeNode), result.volumeNode)
        if state.regions and result.regionsNode:
            with surfacesKept(result.regionsNode):
                result.regionsNode.GetSegmentation().DeepCopy(state.regions)
            showLungsWithoutLobes(result.regionsNode)
        if state.probability and result.probabilityNode:
            result.probabilityNode.SetAndObserveImageData(state.probability)
        if state.candidates and result.candidatesNode:
            slicer.util.updateVolumeFromArray(result.candidatesNode, state.unpacked(state.candidates))
        values = json.loads(state.values)
        setProvenance(result.segmentationNode, values["provenance"])
        result = storeResult(result.segmentationNode, result.volumeNode, values)
        if state.isEdited:
            result.segmentationNode.SetAttribute(EDITED_ATTRIBUTE, "1")
        return result

    def forget(self, segmentationNode):
        """A run for another CT has begun anew."""
        self._states.pop(segmentationNode, None)
        for gone in [node for node in self._states if node.GetScene() is None]:
            del self._states[gone]


def _packed(array):
    return zlib.compress(array.astype(np.uint8, copy=False).tobytes(), 1)
