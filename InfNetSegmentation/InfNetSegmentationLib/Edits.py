"""Results that are changed by hand are marked, in whatever module that is done and whatever the panel shows."""

from functools import cache

import slicer
from slicer.util import VTKObservationMixin

from InfNetSegmentationLib.SegmentationResult import EDITED_ATTRIBUTE, REGIONS_ROLE, resultNodes

_watched = VTKObservationMixin()  # which keeps what it observes, so what has left the scene has to be given up


@cache
def watchScene():
    """From now on watch the results that a loaded scene brings. Called when Slicer has started."""
    scene = slicer.mrmlScene
    for event in (scene.EndBatchProcessEvent, scene.NodeRemovedEvent):
        scene.AddObserver(event, watchResults)


def watchResults(_scene=None, _event=None):
    """Mark each result of the scene from now on when its findings, lungs or lobes are changed."""
    if slicer.mrmlScene.IsBatchProcessing():
        return  # a scene is loaded or closed; its end calls this again
    _watched.removeObservers()
    for node in {part for result in resultNodes() for part in _measuredParts(result)}:
        for event in (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentRemoved):
            _watched.addObserver(node, event, _onSegmentsModified)


def _onSegmentsModified(segmentationNode, _event):
    for result in resultNodes():
        if segmentationNode in _measuredParts(result):
            result.SetAttribute(EDITED_ATTRIBUTE, "1")


def _measuredParts(resultNode):
    """The segmentations whose numbers a result tells."""
    return [node for node in (resultNode, resultNode.GetNodeReference(REGIONS_ROLE)) if node]
