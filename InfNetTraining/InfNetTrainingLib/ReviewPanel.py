from contextlib import suppress

import qt
import slicer
from InfNetSegmentationLib.Corrections import editSegments
from slicer.i18n import tr as _

from InfNetTrainingLib.PseudoLabels import CORRECTED, REJECTED, UNSTABLE, PseudoLabels
from InfNetTrainingLib.RunState import FINISHED
from InfNetTrainingLib.SliceReview import SliceReview


class ReviewPanel:
    """The part of the panel in which a person looks at the pseudo-labels of each round, rejects and corrects them."""

    def __init__(self, ui):
        self._ui = ui
        self._folder = None  # of the run that is shown
        self._labels = None
        self._rows = []
        self._config = None
        self._isFinished = False
        self._review = None  # the slice in the views
        self._toolTips = {
            button: button.toolTip
            for button in (ui.rejectButton, ui.editButton, ui.keepCorrectionButton, ui.withdrawButton)
        }
        ui.reviewTable.columnCount = 4
        ui.reviewTable.setHorizontalHeaderLabels([_("Slice"), _("Infected"), _("Stability"), _("Use")])
        ui.reviewTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.reviewTable.wordWrap = False
        ui.reviewTable.verticalHeader().hide()
        ui.roundSelector.connect("currentIndexChanged(int)", lambda index: self._showRound())
        ui.roundSelector.connect("activated(int)", lambda index: self._onSelected())
        ui.reviewTable.connect("itemSelectionChanged()", self._onSelected)
        ui.openMontageButton.connect("clicked(bool)", self._onOpenMontage)
        ui.rejectButton.connect("clicked(bool)", self._onReject)
        ui.editButton.connect("clicked(bool)", self._onEdit)
        ui.keepCorrectionButton.connect("clicked(bool)", self._onKeep)
        ui.withdrawButton.connect("clicked(bool)", self._onWithdraw)

    def show(self, folder, status):
        """Take up a run and its state: its newest round, unless an older one has been chosen."""
        if folder != self._folder:
            # Where that fails it is told, and the other run is shown all the same.
            with suppress(Exception), slicer.util.tryWithErrorDisplay(_("The correction could not be kept.")):
                self.keepEdited()
            self._review = None
            self._ui.roundSelector.clear()
        self._folder, self._config, self._isFinished = folder, status.config, status.state == FINISHED
        self._labels = PseudoLabels(folder)
        rounds = self._labels.rounds() if status.config else []
        self._ui.reviewSection.visible = bool(rounds)
        known, shown = self._rounds(), self._ui.roundSelector.currentText
        if rounds != known:
            wasBlocked = self._ui.roundSelector.blockSignals(True)
            self._ui.roundSelector.clear()
            for name in rounds:
                self._ui.roundSelector.addItem(name)
            isOlder = shown in rounds and shown != known[-1]
            self._ui.roundSelector.currentIndex = rounds.index(shown) if isOlder else len(rounds) - 1
            self._ui.roundSelector.blockSignals(wasBlocked)
        self._showRound()

    def _rounds(self):
        return [self._ui.roundSelector.itemText(index) for index in range(self._ui.roundSelector.count)]

    def _showRound(self):
        round = self._ui.roundSelector.currentText
        chosen = self._chosen()
        self._rows = self._labels.of(round) if round else []
        table = self._ui.reviewTable
        wasBlocked = table.blockSignals(True)
        table.rowCount = len(self._rows)
        for row, label in enumerate(self._rows):
            infected = "" if label.infected is None else _("{:.1f} %").format(100 * label.infected)
            stability = "" if label.stability is None else f"{label.stability:.2f}"
            for column, text in enumerate((label.stem, infected, stability, _useText(label.use))):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        stems = [label.stem for label in self._rows]
        if chosen and chosen.stem in stems:
            table.selectRow(stems.index(chosen.stem))
        else:
            table.clearSelection()
        table.blockSignals(wasBlocked)
        self._ui.openMontageButton.enabled = bool(round) and self._labels.overview(round) is not None
        self._showButtons()

    def _chosen(self):
        """The `PseudoLabel` of the selected row, or None."""
        items = self._ui.reviewTable.selectedItems()
        row = items[0].row() if items else -1
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def _showButtons(self):
        ui, chosen, tooLate = self._ui, self._chosen(), None
        if self._isFinished:
            chosen = None
            tooLate = _(
                "The training is finished, so this would change nothing any more. Tick “Pause for a look at new "
                "pseudo-labels” before another one"
            )
        for button, toolTip in self._toolTips.items():
            button.toolTip = tooLate or toolTip
        ui.rejectButton.enabled = ui.editButton.enabled = chosen is not None
        ui.rejectButton.text = _("Take in again") if chosen and chosen.use == REJECTED else _("Reject")
        isShown = chosen is not None and self._review is not None and self._review.stem == chosen.stem
        ui.keepCorrectionButton.enabled = isShown and self._review.isInScene
        ui.withdrawButton.enabled = chosen is not None and chosen.use == CORRECTED

    def _onSelected(self):
        try:
            if self._chosen():
                with slicer.util.tryWithErrorDisplay(_("The slice could not be shown."), waitCursor=True):
                    self.keepEdited()
                    self._showSlice()
        finally:
            self._showButtons()

    def keepEdited(self):
        """Ask before another slice takes the place of one that was edited, or a training begins without it."""
        review = self._review
        if review is None or not review.isEdited:
            return
        question = _("The pseudo-label of “{}” was edited. Keep the correction?").format(review.stem)
        if slicer.util.confirmYesNoDisplay(question):
            self._labels.correct(review.stem, review.mask())
            self._showRound()
        review.setUnedited()

    def _showSlice(self):
        round, stem = self._ui.roundSelector.currentText, self._chosen().stem
        image, mask = self._labels.image(round, stem), self._labels.mask(round, stem)
        self._review = SliceReview(stem, image, mask, self._config.unlabelledFolder)
        self._review.show()

    def _onReject(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("This could not be noted.")):
            self._labels.reject(self._chosen().stem, self._chosen().use != REJECTED)
        self._showRound()

    def _onEdit(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("Segment Editor could not be opened.")):
            if self._review is None or self._review.stem != self._chosen().stem or not self._review.isInScene:
                self._showSlice()
            self._showButtons()
            editSegments(self._review)

    def _onKeep(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The correction could not be kept.")):
            self._labels.correct(self._review.stem, self._review.mask())
            self._review.setUnedited()
        self._showRound()

    def _onWithdraw(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The correction could not be taken back.")):
            self._labels.withdraw(self._chosen().stem)
            self._showSlice()
        self._showRound()

    def _onOpenMontage(self, checked=False):
        path = self._labels.overview(self._ui.roundSelector.currentText)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))


def _useText(use):
    titles = {REJECTED: _("rejected"), CORRECTED: _("corrected"), UNSTABLE: _("left out, unstable")}
    return titles.get(use, _("as it is"))
