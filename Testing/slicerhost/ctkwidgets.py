"""Stand-ins of the CTK widgets that the modules use: same names, properties and signals. Importable as ``ctk``."""

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from slicerhost.storedproperty import storedProperty

_HEADER_HEIGHT = 24
_ANY_HEIGHT = 16777215


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that shows and hides the widgets below it."""

    clicked = Signal(bool)
    contentsCollapsed = Signal(bool)
    text = storedProperty(str, "text", "", changed="update")
    collapsed = storedProperty(bool, "collapsed", False, notify="contentsCollapsed", changed="_fold")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._folded = []
        self.setContentsMargins(0, _HEADER_HEIGHT, 0, 0)

    def _fold(self):
        """As in CTK, a child that the module has hidden stays hidden when the button is opened."""
        children = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
        if self.collapsed:
            self._folded += [child for child in children if not child.isHidden()]
        for child in self._folded:
            child.setVisible(not self.collapsed)
        if not self.collapsed:
            self._folded = []
        self.setMaximumHeight(_HEADER_HEIGHT if self.collapsed else _ANY_HEIGHT)
        self.updateGeometry()

    def showEvent(self, event):
        self._fold()  # children added after the property was set

    def mousePressEvent(self, event):
        if event.position().y() < _HEADER_HEIGHT:
            self.collapsed = not self.collapsed
            self.clicked.emit(not self.collapsed)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.width, _HEADER_HEIGHT - 2)
        painter.fillRect(header, self.palette.button())
        painter.setPen(self.palette.mid().color())
        painter.drawRect(header.adjusted(0, 0, -1, -1))
        painter.setPen(self.palette.windowText().color())
        arrow = "▸" if self.collapsed else "▾"
        painter.drawText(header.adjusted(6, 0, 0, 0), QtCore.Qt.AlignVCenter, f"{arrow} {self.text}")


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box."""

    valueChanged = Signal(float)
    _STEPS = 10000

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, self._STEPS)
        self._box = QtWidgets.QDoubleSpinBox()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._slider.valueChanged.connect(self._onSlider)
        self._box.valueChanged.connect(self._onBox)

    def _onSlider(self, step):
        self._box.setValue(self.minimum + step / self._STEPS * (self.maximum - self.minimum))

    def _onBox(self, value):
        self._moveSlider()
        self.valueChanged.emit(value)

    def _moveSlider(self):
        extent = self.maximum - self.minimum
        self._slider.blockSignals(True)
        self._slider.setValue(round((self.value - self.minimum) / extent * self._STEPS) if extent > 0 else 0)
        self._slider.blockSignals(False)

    def _setRange(self, minimum, maximum):
        self._box.setRange(minimum, maximum)
        self._moveSlider()

    value = Property(float, lambda self: self._box.value, lambda self, value: self._box.setValue(value))
    minimum = Property(float, lambda self: self._box.minimum, lambda self, value: self._setRange(value, self.maximum))
    maximum = Property(float, lambda self: self._box.maximum, lambda self, value: self._setRange(self.minimum, value))
    singleStep = Property(float, lambda self: self._box.singleStep, lambda self, step: self._box.setSingleStep(step))
    suffix = Property(str, lambda self: self._box.suffix, lambda self, text: self._box.setSuffix(text))
    decimals = Property(int, lambda self: self._box.decimals, lambda self, digits: self._box.setDecimals(digits))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for the path of a file or folder, with a button to browse.

    As in CTK, an empty line is no valid input, and tells no change of the path: only that it is not valid any longer.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Files, Readable, Writable = 1, 2, 16, 32
    filters = storedProperty(int, "filters", Files)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._isValid = False
        self._line = QtWidgets.QLineEdit()
        self._line.textChanged.connect(self._onText)
        browse = QtWidgets.QToolButton()
        browse.setText("…")
        layout.addWidget(self._line)
        layout.addWidget(browse)

    def _onText(self, text):
        wasValid, self._isValid = self._isValid, bool(text)
        if self._isValid:
            self.currentPathChanged.emit(text)
        if self._isValid != wasValid:
            self.validInputChanged.emit(self._isValid)

    currentPath = Property(str, lambda self: self._line.text, lambda self, path: self._line.setText(path))


class ctkMessageBox(QtWidgets.QMessageBox):
    pass


WIDGETS = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit, ctkMessageBox)
