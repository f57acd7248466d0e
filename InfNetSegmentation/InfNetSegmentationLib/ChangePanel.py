from html import escape

import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.ChangeTable import changeAsText, changeSummary, fillChangeTableWidget
from InfNetSegmentationLib.Chart import showChart
from InfNetSegmentationLib.Comparison import mapSegments, whyIncomparable
from InfNetSegmentationLib.Remedies import wrappable
from InfNetSegmentationLib.SegmentationResult import RESULT_ATTRIBUTE, storedResult
from InfNetSegmentationLib.StudyChange import CHART_ROLE, MAP_ROLE, isOutdated, storedChange
from InfNetSegmentationLib.Views import showVolume


class ChangePanel:
    """The part of the panel that compares a result with that of an earlier study.

    compare(earlier, later) - starts the run of the backend
    onMapShown() - called when the findings were hidden, or shown again
    """

    def __init__(self, ui, compare, onMapShown):
        self._ui = ui
        self._compare = compare
        self._onMapShown = onMapShown
        self._later = self._earlier = None
        self._running = False
        self._compareToolTip = ui.compareButton.toolTip
        ui.earlierSelector.addAttribute("vtkMRMLSegmentationNode", RESULT_ATTRIBUTE)
        ui.compareButton.connect("clicked(bool)", self._onCompare)
        ui.showChangeMapBox.connect("clicked(bool)", self._onShowMap)
        ui.showChangeChartButton.connect("clicked(bool)", lambda checked=False: showChart(self._node(CHART_ROLE)))
        ui.copyChangeButton.connect("clicked(bool)", self._onCopy)

    def show(self, result, earlierSegmentation):
        """Take up a result and the segmentation of an earlier one; show what is known of their change."""
        if self._later is not None and (result is None or result.segmentationNode is not self._later.segmentationNode):
            self._hideMap()
        self._later = result
        self._earlier = storedResult(earlierSegmentation)
        ui = self._ui
        ui.changeSection.visible = result is not None
        if result is None:
            return
        self._showCompareButton()
        change = storedChange(result.segmentationNode)
        for widget in (ui.changeSummaryLabel, ui.changeTable, ui.changeToolsWidget):
            widget.visible = change is not None
        warnings = [] if change is None else list(change.warnings)
        if change is not None:
            if isOutdated(result.segmentationNode, change):
                warnings.insert(0, _("A result has changed since they were compared: press “Compare” again."))
            colors = {segmentID.lower(): color for segmentID, _name, color in mapSegments()}
            ui.changeSummaryLabel.text = "<b>{} → {}</b><br>{}".format(
                *(escape(wrappable(title)) for title in change.titles), changeSummary(change, colors)
            )
            fillChangeTableWidget(ui.changeTable, change)
            ui.showChangeMapBox.enabled = self._mappedVolume() is not None
            ui.showChangeMapBox.checked = self._isMapShown()
            ui.showChangeChartButton.enabled = self._node(CHART_ROLE) is not None
        ui.changeWarningsLabel.text = wrappable("\n".join(warnings))
        ui.changeWarningsLabel.visible = bool(warnings)

    def showRunning(self, running):
        self._running = running
        self._ui.earlierSelector.enabled = self._ui.changeToolsWidget.enabled = not running
        if self._later is not None:
            self._showCompareButton()

    def _showCompareButton(self):
        """It says why it cannot be pressed."""
        missing = self._whatIsMissing()
        self._ui.compareButton.enabled = missing is None
        self._ui.compareButton.toolTip = missing or self._compareToolTip

    def _whatIsMissing(self):
        if self._running:
            return _("Wait until the run has ended")
        if self._earlier is None:
            return _("Choose the result of an earlier study first")
        return whyIncomparable(self._earlier, self._later)

    def _node(self, role):
        return self._later.segmentationNode.GetNodeReference(role)

    def _mappedVolume(self):
        """The CT that the map lies on, or None where it or the map was deleted."""
        mapNode = self._node(MAP_ROLE)
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        return mapNode.GetNodeReference(role) if mapNode else None

    def _isMapShown(self):
        return self._mappedVolume() is not None and bool(self._node(MAP_ROLE).GetDisplayNode().GetVisibility())

    def _hideMap(self):
        """Leave the map, which would lie over another CT, for the findings; these may have just been deleted."""
        if not self._isMapShown():
            return
        if self._later.segmentationNode.GetDisplayNode() and self._later.volumeNode.GetScene():
            self._showMap(False)
        else:
            self._node(MAP_ROLE).GetDisplayNode().SetVisibility(False)

    def _showMap(self, shown):
        """The map lies in the older CT's anatomy, so that CT is shown with it, and the later findings are not."""
        self._node(MAP_ROLE).GetDisplayNode().SetVisibility(shown)
        self._later.segmentationNode.GetDisplayNode().SetVisibility(not shown)
        showVolume(self._mappedVolume() if shown else self._later.volumeNode)

    def _onShowMap(self, shown):
        self._showMap(shown)
        self._onMapShown()

    def _onCompare(self, checked=False):
        self._hideMap()
        self._compare(self._earlier, self._later)

    def _onCopy(self, checked=False):
        import qt

        qt.QApplication.clipboard().setText(changeAsText(storedChange(self._later.segmentationNode)))
