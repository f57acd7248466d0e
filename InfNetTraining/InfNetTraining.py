import slicer
from InfNetSegmentationLib import SlicerVersion  # noqa: F401 (first of all, since it may refuse)
from InfNetTrainingLib.TrainingConfig import TrainingConfig
from InfNetTrainingLib.TrainingLogic import InfNetTrainingLogic
from InfNetTrainingLib.TrainingWidget import InfNetTrainingWidget
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

__all__ = ["InfNetTraining", "InfNetTrainingLogic", "InfNetTrainingTest", "InfNetTrainingWidget", "TrainingConfig"]


class InfNetTraining(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Inf-Net Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["InfNetSegmentation"]
        parent.contributors = ["InfNet developers"]
        parent.helpText = _(
            "Trains Inf-Net on CT slices with drawn infection masks, and on slices without, by Algorithm 1 of the "
            "paper. A training goes on when Slicer is closed. All data stay on this computer, unless you start a "
            "training on another one by SSH. For research only, not for clinical decisions."
        )
        parent.acknowledgementText = _(
            "The method is Inf-Net: D.-P. Fan et al., Inf-Net: Automatic COVID-19 Lung Infection Segmentation From "
            "CT Images, IEEE Transactions on Medical Imaging 39(8), 2020."
        )


class InfNetTrainingTest(ScriptedLoadableModuleTest):
    """Self-test in Slicer: a folder that holds no slices is told as such, and no training is found in it."""

    def runTest(self):
        slicer.mrmlScene.Clear()
        logic = InfNetTrainingLogic()
        self.assertFalse(logic.check("no such folder").canTrain)
        with self.assertRaises(ValueError):
            logic.start(TrainingConfig("no such folder", "no such run"))
        self.assertEqual(logic.status("no such run").state, "absent")
        self.delayDisplay("Test passed")
