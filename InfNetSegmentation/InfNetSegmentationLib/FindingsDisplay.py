"""What the views show of a result."""

import slicer

from InfNetSegmentationLib.Scene import FINDING_IDS, areSurfacesShown
from InfNetSegmentationLib.SegmentationResult import REGIONS_ROLE, resultNodes

_FITTED_ATTRIBUTE = "InfNet.FittedIn3D"  # of a segmentation: 3D views were fitted to it once


def showOnly(segmentationNode):
    """Show a result, or None, and no other, of whatever CT: it would lie over this one as if it were part of it."""
    for node in resultNodes():
        if node is not segmentationNode:
            _show(node, False)
            _show(node.GetNodeReference(REGIONS_ROLE), False)
    _show(segmentationNode, True)


def _show(segmentationNode, shown):
    if segmentationNode and segmentationNode.GetDisplayNode():
        segmentationNode.GetDisplayNode().SetVisibility(shown)


class FindingsDisplay:
    """Show and hide the parts of a result; the display nodes keep it, so it is saved with the scene."""

    def __init__(self, result):
        self._segmentationNode = result.segmentationNode
        self._regionsNode = result.regionsNode
        for node in filter(None, (self._segmentationNode, self._regionsNode)):
            if node.GetDisplayNode() is None:
                node.CreateDefaultDisplayNodes()

    def isFindingShown(self, index):
        """Whether ground-glass opacity (0) or consolidation (1) is shown."""
        display, segmentID = self._segmentationNode.GetDisplayNode(), FINDING_IDS[index]
        isThere = self._segmentationNode.GetSegmentation().GetSegment(segmentID) is not None
        return bool(isThere and display.GetVisibility() and display.GetSegmentVisibility(segmentID))

    def showFinding(self, index, shown):
        display = self._segmentationNode.GetDisplayNode()
        for other, segmentID in enumerate(FINDING_IDS):  # the other one may be hidden only with the whole
            display.SetSegmentVisibility(segmentID, shown if other == index else self.isFindingShown(other))
        display.SetVisibility(True)

    def colorOf(self, index):
        """Of ground-glass opacity (0) or consolidation (1): red, green, blue, 0 to 1; grey where it was deleted."""
        segment = self._segmentationNode.GetSegmentation().GetSegment(FINDING_IDS[index])
        return segment.GetColor() if segment else (0.5, 0.5, 0.5)

    def areRegionsShown(self):
        return bool(self._regionsNode and self._regionsNode.GetDisplayNode().GetVisibility())

    def showRegions(self, shown):
        if self._regionsNode:
            self._regionsNode.GetDisplayNode().SetVisibility(shown)
            self._makeSurfacesOfRegions()

    def is3DShown(self):
        return areSurfacesShown(self._segmentationNode)

    def show3D(self, shown):
        """Surfaces are made when they are shown: those of the lobes take seconds. The first time, the 3D views are
        fitted to them; later, they look where the user has turned them.
        """
        for node in filter(None, (self._segmentationNode, self._regionsNode)):
            node.GetDisplayNode().SetVisibility3D(shown)
        if shown:
            self._segmentationNode.CreateClosedSurfaceRepresentation()
            self._makeSurfacesOfRegions()
        layoutManager = slicer.app.layoutManager()  # none without a main window
        if shown and layoutManager and not self._segmentationNode.GetAttribute(_FITTED_ATTRIBUTE):
            layoutManager.resetThreeDViews()
            self._segmentationNode.SetAttribute(_FITTED_ATTRIBUTE, "1")

    def _makeSurfacesOfRegions(self):
        if self.areRegionsShown() and self.is3DShown():
            self._regionsNode.CreateClosedSurfaceRepresentation()

    def opacity(self):
        return self._segmentationNode.GetDisplayNode().GetOpacity2DFill()

    def setOpacity(self, opacity):
        """Of the findings, 0 to 1, in slices and in 3D; their outlines in slices stay."""
        display = self._segmentationNode.GetDisplayNode()
        display.SetOpacity2DFill(opacity)
        display.SetOpacity3D(opacity)
