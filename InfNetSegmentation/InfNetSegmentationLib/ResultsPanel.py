import slicer
from slicer.i18n import tr as _

from InfNetSegmentationLib.Chart import showChart
from InfNetSegmentationLib.CorrectionsPanel import CorrectionsPanel
from InfNetSegmentationLib.FilesPanel import FilesPanel
from InfNetSegmentationLib.FindingsDisplay import FindingsDisplay
from InfNetSegmentationLib.Lesions import jumpTo, lesionsOf, mostDiseasedPoint
from InfNetSegmentationLib.Relabelling import whyNotRelabelled
from InfNetSegmentationLib.Remedies import wrappable
from InfNetSegmentationLib.ResultTable import fillTableWidget
from InfNetSegmentationLib.SegmentationResult import fillTableAndChart

_MILLISECONDS_BEFORE_LABELLING = 400


class ResultsPanel:
    """The part of the panel that shows a result and works on it.

    logic - the module's logic
    saveReport(result, path), exportDicom(result, folder) - start these runs of the backend
    onChanged(result) - called when the result was labelled or measured again
    """

    def __init__(self, ui, logic, saveReport, exportDicom, onChanged):
        import qt

        self._ui = ui
        self._logic = logic
        self._onChanged = onChanged
        self._result = None
        self._updating = False
        self._thresholdToolTip = ui.resultThresholdSlider.toolTip
        self._files = FilesPanel(ui, self._measured, saveReport, exportDicom)
        self._corrections = CorrectionsPanel(ui, lambda: self._change(self._logic.measure))
        self._forgetLesions()
        # While the slider moves, nothing is labelled: on a large CT that takes seconds.
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MILLISECONDS_BEFORE_LABELLING)
        self._timer.timeout.connect(self._relabel)
        self._connect()

    def _connect(self):
        ui = self._ui
        for index, box in enumerate((ui.showOpacityBox, ui.showConsolidationBox)):
            box.connect("clicked(bool)", lambda shown, index=index: self._display().showFinding(index, shown))
        ui.showLobesBox.connect("clicked(bool)", lambda shown: self._showSurfaces(FindingsDisplay.showRegions, shown))
        ui.show3DBox.connect("clicked(bool)", lambda shown: self._showSurfaces(FindingsDisplay.show3D, shown))
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        ui.resultThresholdSlider.connect("valueChanged(double)", self._onThreshold)
        for button, slot in (
            (ui.undoButton, self._onUndo),
            (ui.mostDiseaseButton, self._onMostDisease),
            (ui.previousLesionButton, lambda checked=False: self._goToLesion(-1)),
            (ui.nextLesionButton, lambda checked=False: self._goToLesion(1)),
            (ui.showChartButton, lambda checked=False: showChart(fillTableAndChart(self._result).chartNode)),
        ):
            button.connect("clicked(bool)", slot)

    @property
    def result(self):
        return self._result

    def close(self):
        """Nothing is labelled any more."""
        self._timer.stop()
        self._corrections.show(None)
        self._files.show(None)
        self._result = None

    def show(self, result):
        """Show a result, or nothing for None."""
        self._timer.stop()
        self._corrections.show(result)
        self._files.show(result)
        isOther = None in (result, self._result) or result.segmentationNode is not self._result.segmentationNode
        if isOther or result.isEdited:
            self._forgetLesions()
        self._result = result
        self._ui.resultsSection.visible = result is not None
        if result is None:
            return
        ui, display = self._ui, self._display()
        self._updating = True
        try:
            ui.resultsSection.text = _("Results of {}").format(_shortened(result.volumeNode.GetName()))
            ui.warningsLabel.text = wrappable("\n".join(result.warnings))
            ui.warningsLabel.visible = bool(result.warnings)
            ui.summaryLabel.text = summary(result)
            fillTableWidget(ui.resultTable, result.table)
            ui.showOpacityBox.checked = display.isFindingShown(0)
            ui.showConsolidationBox.checked = display.isFindingShown(1)
            ui.showLobesBox.checked = display.areRegionsShown()
            ui.show3DBox.checked = display.is3DShown()
            for index, box in enumerate((ui.showOpacityBox, ui.showConsolidationBox)):
                box.icon = _square(display.colorOf(index))
            ui.opacitySlider.value = display.opacity()
            threshold = result.provenance.get("threshold")
            if threshold is not None:
                ui.resultThresholdSlider.value = threshold
            problem = whyNotRelabelled(result)
            ui.resultThresholdSlider.enabled = problem is None
            ui.resultThresholdSlider.toolTip = problem or self._thresholdToolTip
            ui.undoButton.enabled = self._logic.canUndo(result.segmentationNode)
        finally:
            self._updating = False

    def showRunning(self, running, isBatch):
        """A run has begun or ended; a batch leaves the result that is shown alone, and takes hours."""
        self._ui.toolsWidget.enabled = not running or isBatch
        self._files.showRunning(running)

    def _display(self):
        return FindingsDisplay(self._result)

    def _showSurfaces(self, show, shown):
        with slicer.util.tryWithErrorDisplay(_("The surfaces could not be made."), waitCursor=True):
            show(self._display(), shown)

    def _onOpacity(self, opacity):
        if not self._updating:
            self._display().setOpacity(opacity)

    def _onThreshold(self, threshold):
        if not self._updating:
            self._timer.start()

    def _relabel(self):
        self._change(
            lambda result: self._logic.relabel(result, self._ui.resultThresholdSlider.value, result.minimumLesionMl)
        )

    def _onUndo(self, checked=False):
        if self._timer.active:
            self.show(self._result)  # the last change is that of the slider alone
        else:
            self._change(self._logic.undo)

    def _change(self, change):
        with slicer.util.tryWithErrorDisplay(_("The result could not be changed."), waitCursor=True):
            result = change(self._result)
            self._forgetLesions()
            self.show(result)
            self._onChanged(result)

    def _measured(self):
        """The result, with the threshold that the slider shows, and with the numbers of its segments as they are."""
        if self._timer.active:
            self._timer.stop()
            self._relabel()
        if self._result.isEdited:
            self._change(self._logic.measure)
        return self._result

    def _onMostDisease(self, checked=False):
        with _waiting():
            point = mostDiseasedPoint(self._result)
        self._ui.lesionLabel.text = _("no infection") if point is None else ""
        if point is not None:
            jumpTo(point)

    def _goToLesion(self, step):
        if self._lesions is None:
            with _waiting():
                self._lesions = lesionsOf(self._result)
        if not self._lesions:
            self._ui.lesionLabel.text = _("no infection")
            return
        count = len(self._lesions)
        if self._lesion is None:
            self._lesion = 0 if step > 0 else count - 1
        else:
            self._lesion = (self._lesion + step) % count
        lesion = self._lesions[self._lesion]
        jumpTo(lesion.center)
        self._ui.lesionLabel.text = _("{number} of {count}: {ml:.1f} mL").format(
            number=self._lesion + 1, count=count, ml=lesion.ml
        )

    def _forgetLesions(self):
        self._lesions = None
        self._lesion = None
        self._ui.lesionLabel.text = ""


def _shortened(name, length=40):
    """A header is as wide as its text, and the panel as wide as the header."""
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-length // 2 :]}"


def _waiting():
    return slicer.util.tryWithErrorDisplay(_("The lesions could not be found."), waitCursor=True)


def _square(color):
    """An icon of a color, which is the legend of what the views show."""
    import qt

    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor(*(round(255 * value) for value in color)))
    return qt.QIcon(pixmap)


def summary(result):
    """Score and infected share; what density alone says; where lobes come from; how the run was set: a line each."""
    total = result.table[-1]
    share = total["infection_percent"]
    parts = [] if share is None else [_("{:.1f} % of the lungs infected").format(share)]
    if result.severity is not None:
        parts.append(_("CT severity score {} of 25").format(result.severity))
    sources = {
        "atlas": _("Lobes: atlas"),
        "lungmask": _("Lobes: lungmask"),
        "totalsegmentator": _("Lobes: TotalSegmentator"),
        "existing": _("Lobes: existing segmentation"),
        "zones": _("Zones instead of lobes: thirds of the lungs' height"),
        "none": _("Lobes were not asked for"),
    }
    source = sources.get(result.lobeSource, result.lobeSource)
    if result.provenance.get("lobes_approximate"):
        source += _(" – approximate")  # noqa: RUF001
    lines = ["<b>" + " · ".join(parts) + "</b>"]
    if total["non_aerated_percent"] is not None:
        lines.append(
            _("By density alone: {poorly:.1f} % of the lungs poorly aerated, {non:.1f} % not aerated").format(
                poorly=total["poorly_aerated_percent"], non=total["non_aerated_percent"]
            )
        )
    return "<br>".join([*lines, source, _settings(result)])


def _settings(result):
    """What the run was told beside the threshold, which the slider shows; the panel may be set otherwise by now."""
    smoothing = result.provenance.get("smoothing_mm", 0.0)  # of a result that has none, nothing was averaged
    parts = [_("Averaged across slices: {:g} mm").format(smoothing) if smoothing else _("Each slice by itself")]
    if result.provenance.get("mirror_images", 4) < 4:
        parts.append(_("mirror images: {}").format(result.provenance["mirror_images"]))
    if result.minimumLesionMl:
        parts.append(_("lesions from {:g} mL").format(result.minimumLesionMl))
    return " · ".join(parts)
