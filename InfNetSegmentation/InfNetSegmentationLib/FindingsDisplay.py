"""What the views show of a result."""

import slicer

from InfNetSegmentationLib.Scene import FINDING_IDS


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
        display = self._segmentationNode.GetDisplayNode()
        return bool(display.GetVisibility() and display.GetSegmentVisibility(FINDING_IDS[index]))

    def showFinding(self, index, shown):
        display = self._segmentationNode.GetDisplayNode()
        display.SetVisibility(True)
        display.SetSegmentVisibility(FINDING_IDS[index], shown)

    def colorOf(self, index):
        """Of ground-glass opacity (0) or consolidation (1): red, green, blue, 0 to 1; grey where it was deleted."""
        segment = self._segmentationNode.GetSegmentation().GetSegment(FINDING_IDS[index])
        return segment.GetColor() if segment else (0.5, 0.5, 0.5)

    def areRegionsShown(self):
        return bool(self._regionsNode and self._regionsNode.GetDisplayNode().GetVisibility())

    def showRegions(self, shown):
        if self._regionsNode:
            self._regionsNode.GetDisplayNode().SetVisibility(shown)

    def is3DShown(self):
        return bool(self._segmentationNode.GetSegmentation().ContainsRepresentation("Closed surface")) and bool(
            self._segmentationNode.GetDisplayNode().GetVisibility3D()
        )

    def show3D(self, shown):
        """Surfaces are made when they are first shown: for a whole chest that takes seconds."""
        for node in filter(None, (self._segmentationNode, self._regionsNode)):
            if shown:
                node.CreateClosedSurfaceRepresentation()
            node.GetDisplayNode().SetVisibility3D(shown)
        layoutManager = slicer.app.layoutManager()
        if shown and layoutManager:  # none without a main window
            layoutManager.resetThreeDViews()

    def opacity(self):
        return self._segmentationNode.GetDisplayNode().GetOpacity2DFill()

    def setOpacity(self, opacity):
        """Of the findings, 0 to 1, in slices and in 3D; their outlines in slices stay."""
        display = self._segmentationNode.GetDisplayNode()
        display.SetOpacity2DFill(opacity)
        display.SetOpacity3D(opacity)
