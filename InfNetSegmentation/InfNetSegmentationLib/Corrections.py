"""A result's way to the modules in which it is corrected, and in which it is learned from."""

import slicer


def editSegments(result):
    """Open the segments in Segment Editor, with the CT as its source volume."""
    # Segment Editor's own node, which is made here where the module has not been opened yet.
    tag, className = "SegmentEditor", "vtkMRMLSegmentEditorNode"
    editor = slicer.mrmlScene.GetSingletonNode(tag, className)
    if editor is None:
        editor = slicer.mrmlScene.CreateNodeByClass(className)
        editor.UnRegister(None)  # the variable holds it
        editor.SetSingletonTag(tag)
        editor = slicer.mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(result.segmentationNode)
    editor.SetAndObserveSourceVolumeNode(result.volumeNode)
    slicer.util.selectModule("SegmentEditor")


def canTrain():
    """Whether the module that trains is there."""
    return hasattr(slicer.modules, "infnettraining")


def useForTraining(result):
    """Add the CT and its segments to the labelled cases of Inf-Net Training, and open it.

    Raises ValueError where they cannot be trained on.
    """
    slicer.util.selectModule("InfNetTraining")  # its panel is made when it is first opened
    slicer.modules.InfNetTrainingWidget.addCase(result.volumeNode, result.segmentationNode)
