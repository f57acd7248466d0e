class ChoiceBox:
    """A combo box for choices that have a value and a title, where Slicer's parameter wrapper shows bare values.

    onChosen(value) - called when the user chooses
    """

    def __init__(self, comboBox, onChosen):
        self.comboBox = comboBox
        self._onChosen = onChosen
        self._values = []
        self._updating = False
        comboBox.connect("currentIndexChanged(int)", self._onIndexChanged)

    def setChoices(self, choices, toolTips=None):
        """``choices``: [(value, title), …]; ``toolTips``, if given, one for each."""
        import qt

        current = self.value()
        self._updating = True
        self._values = [value for value, _title in choices]
        self.comboBox.clear()
        for _value, title in choices:
            self.comboBox.addItem(title)
        for index, toolTip in enumerate(toolTips or ()):
            self.comboBox.setItemData(index, toolTip, qt.Qt.ToolTipRole)
        self._updating = False
        if current is not None:
            self.setValue(current)

    def value(self):
        index = self.comboBox.currentIndex
        return self._values[index] if 0 <= index < len(self._values) else None

    def setValue(self, value):
        """Show a value; one that is not among the choices, as of a scene from another computer, is added to them."""
        self._updating = True
        if value not in self._values:
            self._values.append(value)
            self.comboBox.addItem(str(value))
        self.comboBox.currentIndex = self._values.index(value)
        self._updating = False

    def _onIndexChanged(self, index):
        if not self._updating:
            self._onChosen(self._values[index])
