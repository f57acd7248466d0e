import slicer
from InfNetTrainingLib.TrainingLogic import InfNetTrainingLogic
from InfNetTrainingLib.TrainingWidget import InfNetTrainingWidget
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

__all__ = ["InfNetTraining", "InfNetTrainingLogic", "InfNetTrainingTest", "InfNetTrainingWidget"]


class InfNetTraining(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Inf-Net Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["InfNetSegmentation"]
        parent.contributors = ["InfNet developers"]
        parent.helpText = _(
            "Trains Inf-Net on CT slices with drawn infection masks, in the folder layout of COVID-SemiSeg. "
            "All data stay on this computer. For research only, not for clinical decisions."
        )
        parent.acknowledgementText = _(
            "The method is Inf-Net: D.-P. Fan et al., Inf-Net: Automatic COVID-19 Lung Infection Segmentation From "
            "CT Images, IEEE Transactions on Medical Imaging 39(8), 2020."
        )


class InfNetTrainingTest(ScriptedLoadableModuleTest):
    """Self-test in Slicer: a data folder that does not exist is told as such by the backend's process."""

    def runTest(self):
        from InfNetSegmentationLib.BackendProcess import BackendError

        slicer.mrmlScene.Clear()
        with self.assertRaises(BackendError) as caught:
            InfNetTrainingLogic().train("no such folder", "no such run", epochs=1)
        self.assertEqual(caught.exception.code, "input-not-found")
        self.delayDisplay("Test passed")
