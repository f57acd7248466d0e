"""What the slice views show, and how."""

import slicer

_LUNG_WINDOW_HU, _LUNG_LEVEL_HU = 1500, -600


def showVolume(volumeNode):
    """Show a volume in all slice views. They are fitted to it, if it was not shown before."""
    logic = slicer.app.applicationLogic()
    isNew = logic.GetSelectionNode().GetActiveVolumeID() != volumeNode.GetID()
    logic.GetSelectionNode().SetActiveVolumeID(volumeNode.GetID())
    logic.PropagateVolumeSelection(int(isNew))


def useLungWindow(volumeNode):
    """Show a CT's grey levels as radiologists do for lungs, unless somebody has chosen a window already."""
    display = volumeNode.GetDisplayNode()
    if display is not None and display.GetAutoWindowLevel():
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(_LUNG_WINDOW_HU, _LUNG_LEVEL_HU)
