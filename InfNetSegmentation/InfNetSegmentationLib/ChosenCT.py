"""The CT that is chosen in the panel: with it go its result, its lungs, its region, and what the views show."""

import slicer

from InfNetSegmentationLib.FindingsDisplay import showOnly
from InfNetSegmentationLib.Regions import isMadeOn
from InfNetSegmentationLib.SceneCTs import sceneCTs
from InfNetSegmentationLib.SegmentationResult import RESULT_ATTRIBUTE, VOLUME_ROLE, segmentationOf, storedResult
from InfNetSegmentationLib.Views import showVolume


class ChosenCT:
    """Follows the parameters' choice of a CT."""

    def __init__(self):
        self.forget()

    def forget(self):
        """The scene is closed."""
        self._volumeNode = None  # that was chosen when the parameters changed the last time
        self._resultID = None  # of the segmentation with the result of this CT that was chosen last
        self._isFirst = True  # no CT of this scene was chosen before
        self._region = None  # of interest, that was chosen with it
        self._regions = {}  # ID of a CT that was chosen before: that of its region

    def follow(self, parameterNode):
        """With another CT, choose its result: it is shown, and no run overwrites that of the CT before, nor takes its
        lungs or its region of interest. Returns whether views have to show something else: this CT took the place of
        another, be it that this was deleted, or another result of this CT was chosen.
        """
        chosen = parameterNode.inputVolume
        if chosen is self._volumeNode:
            self._region = parameterNode.regionOfInterest
            return self._followResult(parameterNode.outputSegmentation)
        before, self._volumeNode, self._resultID = self._volumeNode, chosen, None
        self._followRegion(parameterNode, before)
        output = parameterNode.outputSegmentation
        # A copy of a result, and one whose CT was deleted, is no result any more, but holds somebody's findings.
        if output is None or (
            output.GetAttribute(RESULT_ATTRIBUTE) and output.GetNodeReference(VOLUME_ROLE) is not chosen
        ):
            parameterNode.outputSegmentation = segmentationOf(chosen)
        if before is not None and not isMadeOn(parameterNode.regionsSegmentation, chosen):
            parameterNode.regionsSegmentation = None
        self._followResult(parameterNode.outputSegmentation)
        isFirst, self._isFirst = self._isFirst, self._isFirst and chosen is None
        return chosen is not None and not isFirst

    def _followResult(self, segmentationNode):
        """Whether another result of the chosen CT was chosen. None, for a new one, leaves the views as they are."""
        if segmentationNode is None or segmentationNode.GetID() == self._resultID:
            return False
        result = storedResult(segmentationNode)
        if result is None or result.volumeNode is not self._volumeNode:
            return False
        before, self._resultID = self._resultID, segmentationNode.GetID()
        return before is not None

    def _followRegion(self, parameterNode, before):
        """A region was drawn on the CT that it was chosen with: on another patient's it would cut the lungs anywhere.

        It is chosen again when its CT is. One that has come with the new CT, as from a scene, stays.
        """
        region = self._region
        if before is not None and region is parameterNode.regionOfInterest:
            self._regions[before.GetID()] = region and region.GetID()
            if region is not None:
                region.SetDisplayVisibility(False)
                parameterNode.regionOfInterest = None
        ownID = self._regions.get(self._volumeNode and self._volumeNode.GetID())
        own = slicer.mrmlScene.GetNodeByID(ownID) if ownID else None
        if own is not None and parameterNode.regionOfInterest is None:
            own.SetDisplayVisibility(True)
            parameterNode.regionOfInterest = own


def chooseShownCT(parameterNode):
    """Where no CT is chosen: the one in the views, or else the first of the scene."""
    if parameterNode.inputVolume is None:
        shownID = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        cts = sorted(sceneCTs(), key=lambda node: node.GetID() != shownID)
        parameterNode.inputVolume = cts[0] if cts else None


def showChosenCT(parameterNode):
    """Show the chosen CT in the views, with its result."""
    showOnly(parameterNode.outputSegmentation)
    showVolume(parameterNode.inputVolume)
