import slicer
from InfNetSegmentationLib import SlicerVersion  # noqa: F401 (first of all, since it may refuse)
from InfNetSegmentationLib.Edits import watchScene
from InfNetSegmentationLib.Logic import InfNetSegmentationLogic
from InfNetSegmentationLib.Samples import registerSamples
from InfNetSegmentationLib.Terminology import loadTerminology
from InfNetSegmentationLib.Widget import InfNetSegmentationWidget
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

__all__ = [
    "InfNetSegmentation",
    "InfNetSegmentationLogic",
    "InfNetSegmentationTest",
    "InfNetSegmentationWidget",
]


class InfNetSegmentation(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Inf-Net Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["InfNet developers"]
        parent.helpText = _(
            "Segments ground-glass opacity and consolidation of COVID-19 pneumonia on a chest CT and measures them "
            "for each lobe and lung. Select the CT and press Apply. All data stay on this computer. "
            "For research only, not for clinical decisions."
        )
        parent.acknowledgementText = _(
            "The method is Inf-Net: D.-P. Fan et al., Inf-Net: Automatic COVID-19 Lung Infection Segmentation From "
            "CT Images, IEEE Transactions on Medical Imaging 39(8), 2020. The weights were trained on the data set "
            "COVID-SemiSeg and are for non-commercial research only."
        )
        slicer.app.connect("startupCompleted()", loadTerminology)
        slicer.app.connect("startupCompleted()", registerSamples)
        slicer.app.connect("startupCompleted()", watchScene)


class InfNetSegmentationTest(ScriptedLoadableModuleTest):
    """Self-test in Slicer: a result of the backend becomes two segments on the CT's grid."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_importFindings()

    def test_importFindings(self):
        import tempfile
        from pathlib import Path

        import numpy as np
        from InfNetSegmentationLib.Scene import FINDINGS, importFindings

        self.delayDisplay("Importing a label image")
        labels = np.zeros((4, 6, 8), np.uint8)
        labels[1, 2:4, 3:6] = 1
        labels[2, 3, 4] = 2
        ijkToRAS = np.diag([-0.7, -0.7, 5.0, 1.0])
        volumeNode = slicer.util.addVolumeFromArray(np.zeros(labels.shape, np.int16), ijkToRAS)
        labelNode = slicer.util.addVolumeFromArray(labels, ijkToRAS)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "findings.nrrd"
            slicer.util.saveNode(labelNode, str(path))
            segmentationNode = importFindings(path, volumeNode)
        for label, (segmentID, _name) in enumerate(FINDINGS, start=1):
            segment = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)
            np.testing.assert_array_equal(segment, labels == label)
        self.delayDisplay("Test passed")
