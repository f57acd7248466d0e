"""The CT that is chosen in the panel: with it go its result, its lungs, and what the views show."""

import slicer

from InfNetSegmentationLib.FindingsDisplay import showOnly
from InfNetSegmentationLib.Regions import isMadeOn
from InfNetSegmentationLib.SceneCTs import sceneCTs
from InfNetSegmentationLib.SegmentationResult import segmentationOf, storedResult
from InfNetSegmentationLib.Views import showVolume


class ChosenCT:
    """Follows the parameters' choice of a CT."""

    def __init__(self):
        self._volumeNode = None  # that was chosen when the parameters changed the last time

    def forget(self):
        """The scene is closed."""
        self._volumeNode = None

    def follow(self, parameterNode):
        """With another CT, choose its result: it is shown, and no run overwrites that of the CT before, nor takes its
        lungs. Returns whether one CT took the place of another.
        """
        chosen = parameterNode.inputVolume
        if chosen is self._volumeNode:
            return False
        before, self._volumeNode = self._volumeNode, chosen
        result = storedResult(parameterNode.outputSegmentation)
        if parameterNode.outputSegmentation is None or (result and result.volumeNode is not chosen):
            parameterNode.outputSegmentation = segmentationOf(chosen)
        if before is not None and not isMadeOn(parameterNode.regionsSegmentation, chosen):
            parameterNode.regionsSegmentation = None
        return None not in (before, chosen)


def chooseShownCT(parameterNode):
    """Where no CT is chosen: the one in the views, or else the first of the scene."""
    if parameterNode.inputVolume is None:
        shownID = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        cts = sorted(sceneCTs(), key=lambda node: node.GetID() != shownID)
        parameterNode.inputVolume = cts[0] if cts else None


def showChosenCT(parameterNode):
    """Show the chosen CT in the views, with its result."""
    showOnly(parameterNode.inputVolume, parameterNode.outputSegmentation)
    showVolume(parameterNode.inputVolume)
