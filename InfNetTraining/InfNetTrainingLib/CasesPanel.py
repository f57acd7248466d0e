from pathlib import Path

import slicer
from InfNetSegmentationLib.SceneCTs import offerCTs
from slicer.i18n import tr as _

from InfNetTrainingLib.PanelWords import inPanelWords
from InfNetTrainingLib.SceneCases import checkCase, usesText
from InfNetTrainingLib.TrainingParameters import unusedFolder


class CasesPanel:
    """The part of the panel that makes slices: of cases in the scene, or of a folder of CTs.

    The new folder lies beside that of the run, and becomes the folder of labelled or unlabelled slices.
    """

    def __init__(self, ui, logic, onProgress, onLog, onStateChanged, onMade):
        self._ui = ui
        self._logic = logic
        self._callbacks = {"progressCallback": onProgress, "logCallback": onLog}
        self._onStateChanged = onStateChanged
        self._onMade = onMade  # (what was made, in words)
        self._parameterNode = None
        self._cases = []  # (CT node, segmentation node, or None for a CT without labels)
        ui.addCaseButton.connect("clicked(bool)", self._onAdd)
        ui.removeCaseButton.connect("clicked(bool)", self._onRemove)
        ui.makeLabelledButton.connect("clicked(bool)", self._onMakeLabelled)
        ui.makeUnlabelledCasesButton.connect("clicked(bool)", self._onMakeUnlabelledCases)
        ui.makeUnlabelledButton.connect("clicked(bool)", self._onMakeUnlabelled)
        ui.caseList.maximumHeight = 80
        ui.caseList.wordWrap = True
        self._folderToolTip = ui.makeUnlabelledButton.toolTip

    def show(self, parameterNode):
        """Take up the scene's parameters; None while the scene is closed, and with it the cases are gone."""
        if parameterNode is None:
            self._cases = []
        self._parameterNode = parameterNode
        offerCTs(self._ui.caseVolumeSelector)
        self._showCases()

    def add(self, volumeNode, segmentationNode):
        """Add a case of the scene; without a segmentation, to the unlabelled ones. Raises ValueError (`checkCase`)."""
        checkCase(volumeNode, segmentationNode)
        if (volumeNode, segmentationNode) not in self._cases:
            self._cases.append((volumeNode, segmentationNode))
        self._showCases()

    def _onAdd(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The case cannot be used.")):
            self.add(self._parameterNode.caseVolume, self._parameterNode.caseSegmentation)

    def _onRemove(self, checked=False):
        row = self._ui.caseList.currentRow
        if 0 <= row < len(self._cases):
            del self._cases[row]
            self._showCases()

    def _onMakeLabelled(self, checked=False):
        self._makeOfCases([case for case in self._cases if case[1]], "labelled")

    def _onMakeUnlabelledCases(self, checked=False):
        self._makeOfCases([case for case in self._cases if not case[1]], "unlabelled")

    def _makeOfCases(self, cases, kind):
        self._make(lambda folder, **how: self._logic.prepareCases(cases, folder, **how), kind)

    def _onMakeUnlabelled(self, checked=False):
        ctFolder = self._parameterNode.ctFolder
        self._make(lambda folder, **how: self._logic.prepareFolder(ctFolder, folder, **how), "unlabelled")

    def _make(self, prepare, kind):
        def onCompleted(result, error):
            self._onStateChanged()
            if error and error.code == "cancelled":  # the panel was closed
                return
            if error:
                slicer.util.errorDisplay(_("The slices could not be made.\n\n{}").format(inPanelWords(str(error))))
                return
            if result["failed"]:
                causes = "\n".join(f"{name}: {inPanelWords(cause)}" for name, cause in result["failed"].items())
                slicer.util.warningDisplay(_("Some CTs were left out.\n\n{}").format(causes))
            if self._parameterNode:
                setattr(self._parameterNode, f"{kind}Folder", folder)
            made = {
                "labelled": _("{} labelled slices were made; “Check data” shows some of them."),
                "unlabelled": _("{} unlabelled slices were made, for a semi-supervised training."),
            }
            self._onMade(made[kind].format(result["slices"]))

        with slicer.util.tryWithErrorDisplay(_("The slices could not be made.")):
            folder = unusedFolder(self._parameterNode.outputFolder, f"-{kind}")
            prepare(folder, waitForCompletion=False, completedCallback=onCompleted, **self._callbacks)
            self._onStateChanged()

    def refresh(self):
        """A node has left the scene, and is no case any more."""
        self._showCases()

    def _showCases(self):
        self._cases = [case for case in self._cases if all(node.GetScene() for node in case if node)]
        self._ui.caseList.clear()
        for volumeNode, segmentationNode in self._cases:
            labels = _("without labels")
            if segmentationNode:
                labels = f"{segmentationNode.GetName()} ({usesText(segmentationNode)})"
            self._ui.caseList.addItem(f"{volumeNode.GetName()}: {labels}")
        self._ui.makeLabelledButton.enabled = any(segmentation for _volume, segmentation in self._cases)
        self._ui.makeUnlabelledCasesButton.enabled = any(not segmentation for _volume, segmentation in self._cases)
        self._ui.removeCaseButton.enabled = bool(self._cases)
        self.showFolderButton()

    def showFolderButton(self):
        """It waits for a folder: at first that is the home, in which all CTs of the computer may lie."""
        button, path = self._ui.makeUnlabelledButton, self._ui.ctFolderLine.currentPath
        button.enabled = bool(path) and Path(path) != Path.home()
        button.toolTip = self._folderToolTip if button.enabled else _("Choose the folder of the CTs first")
