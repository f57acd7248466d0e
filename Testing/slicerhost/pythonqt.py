"""Makes PySide6 behave as PythonQt does in Slicer, and gives the modules ``qt`` and ``ctk``.

PythonQt differs from PySide6 in ways that matter to module code:

- A Qt property is an attribute: ``button.enabled = True``, ``edit.text``; calling the getter fails.
- ``widget.connect("clicked(bool)", slot)`` connects by signature, beside ``widget.clicked.connect(slot)``. A signature
  that no signal has connects nothing; here it is an error. A signal has no overloads to choose from by ``[…]``.
- A property of type bool takes no ``numpy.bool``.
- A connected slot lives as long as the sender, or until it is disconnected, and with it all that it refers to.
- ``QFileDialog.getSaveFileName`` and ``getOpenFileName`` return a path, without the filter.
- ``objectName`` is also ``name``, ``exec`` is ``exec_``, and there is no ``Signal``, ``Slot`` or ``Property``.

The classes of PySide6 are changed in place, so code that only works under PySide6 fails under the host.
"""

import locale
import operator
import re
import sys
from contextlib import suppress
from types import MethodType, ModuleType

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_QT_MODULES = (QtCore, QtGui, QtWidgets)
_NOT_IN_PYTHONQT = {"Signal", "Slot", "Property", "SignalInstance"}
# Said by Qt about what the host does in another way: `qMRMLWidget.setMRMLScene` hands the scene on itself.
_EXPECTED_MESSAGES = ("mrmlSceneChanged(vtkMRMLScene*)", "(sender name:", "(receiver name:", "propagateSizeHints")
_STAND_INS = {"slicerhost.ctkwidgets", "slicerhost.mrmlwidgets"}  # which are no Python in Slicer
_getAttribute = QtCore.QObject.__getattribute__
# Virtual or static functions that share the name of a property stay functions.
_STAY_FUNCTIONS = {"sizeHint", "minimumSizeHint", "singleShot"}


def start(settingsFolder):
    """Start Qt as PythonQt has it, with the application's settings in a folder of the host, and return the application.

    Registers the modules ``qt`` and ``ctk`` and gives the module ``slicer`` its widgets.
    """
    QtCore.qInstallMessageHandler(_onQtMessage)
    application = _makeApplication()
    QtCore.QCoreApplication.setOrganizationName("SlicerHost")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(settingsFolder))
    for qtClass in _qObjectClasses():
        _propertiesToAttributes(qtClass)
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, name: self.setObjectName(name))
    QtCore.QObject.className = lambda self: self.metaObject().className()
    _connectBySignature()
    for qtClass in (QtWidgets.QDialog, QtWidgets.QMenu, QtWidgets.QApplication, QtCore.QEventLoop):
        qtClass.exec_ = qtClass.exec
    for name in ("getSaveFileName", "getOpenFileName"):
        setattr(QtWidgets.QFileDialog, name, _withoutFilter(getattr(QtWidgets.QFileDialog, name)))
    from slicerhost import ctkwidgets, mrmlwidgets

    sys.modules["ctk"] = ctkwidgets
    sys.modules["qt"] = _QtModule("qt")
    for widgetClass in mrmlwidgets.WIDGETS:
        setattr(slicer, widgetClass.__name__, widgetClass)
    return application


def _withoutFilter(getFileName):
    """PythonQt's file dialogs return the path; PySide6's return it with the filter that was chosen."""
    return staticmethod(lambda *arguments: getFileName(*arguments)[0])


def _makeApplication():
    # Qt sets the process's locale, and with it the encoding of files that others open.
    previousLocale = locale.setlocale(locale.LC_ALL)
    application = QtWidgets.QApplication(["SlicerHost"])
    locale.setlocale(locale.LC_ALL, previousLocale)
    return application


def _onQtMessage(kind, context, text):
    if not any(expected in text for expected in _EXPECTED_MESSAGES):
        print(text, file=sys.stderr)


class _QtModule(ModuleType):
    """``import qt``: the classes of QtCore, QtGui and QtWidgets under one name."""

    def __getattr__(self, name):
        if name == "QUiLoader":
            return UiLoader
        if name not in _NOT_IN_PYTHONQT:
            for module in _QT_MODULES:
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


class UiLoader(QtUiTools.QUiLoader):
    """Loads .ui files, with the stand-ins of CTK's and Slicer's widgets."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        from slicerhost import ctkwidgets, mrmlwidgets

        for widgetClass in (*ctkwidgets.WIDGETS, *mrmlwidgets.WIDGETS):
            self.registerCustomWidget(widgetClass)


def _qObjectClasses():
    for module in _QT_MODULES:
        for name in dir(module):  # not vars(): PySide6 makes its types when they are asked for
            candidate = getattr(module, name)
            if isinstance(candidate, type) and issubclass(candidate, QtCore.QObject):
                yield candidate


def _propertiesToAttributes(qtClass):
    metaObject = qtClass.staticMetaObject
    for index in range(metaObject.propertyOffset(), metaObject.propertyCount()):
        name = metaObject.property(index).name()
        if name not in _STAY_FUNCTIONS and not isinstance(getattr(qtClass, name, None), property):
            setattr(qtClass, name, _attribute(qtClass, name, metaObject.property(index).typeName()))


def _attribute(qtClass, name, typeName):
    capitalised = name[0].upper() + name[1:]
    getters = (getattr(qtClass, getter, None) for getter in ("is" + capitalised, "has" + capitalised, name))
    getter = next((getter for getter in getters if callable(getter)), lambda self: self.property(name))
    setter = getattr(qtClass, "set" + capitalised, lambda self, value: self.setProperty(name, value))

    def write(self, value):
        if typeName in ("bool", "int") and not isinstance(value, float):
            operator.index(value)  # which raises TypeError where PythonQt finds no number
        setter(self, value)

    return property(lambda self: getter(self), write)


class _Signal:
    """What PythonQt gives for ``sender.signal``."""

    def __init__(self, sender, signal):
        self._sender = sender
        self._signal = signal

    def connect(self, slot):
        if slot.__module__ not in _STAND_INS:
            _slotsOf(self._sender).append(slot)
        return bool(self._signal.connect(slot))

    def disconnect(self, slot=None):
        slots = _slotsOf(self._sender)
        if slot is None:
            return self._signal.disconnect()
        if slot in slots:
            slots.remove(slot)
        return self._signal.disconnect(slot)

    def emit(self, *arguments):
        self._signal.emit(*arguments)


_slots = {}  # address of a sender: what is connected to its signals


def _slotsOf(sender):
    (address,) = shiboken6.getCppPointer(sender)[:1]
    if address not in _slots:
        _slots[address] = []
        _getAttribute(sender, "destroyed").connect(lambda *_: _slots.pop(address, None))
    return _slots[address]


def _signalOf(sender, signature):
    """The signal of ``sender`` with this signature, such as "clicked(bool)"."""
    match = re.match(r"(\w+)\s*(?:\((.*)\))?$", signature)
    signal = _getAttribute(sender, match[1])
    argumentTypes = re.sub(r"const |[ &]", "", match[2] or "")
    if "*" not in argumentTypes:  # which are of Slicer's own widgets: the stand-ins' signals have another type
        if sender.metaObject().indexOfSignal(f"{match[1]}({argumentTypes})") < 0:
            raise ValueError(f"{sender.metaObject().className()} has no signal {signature}")
        if argumentTypes:
            with suppress(KeyError, IndexError, TypeError):  # not overloaded
                signal = signal[argumentTypes]
    return _Signal(sender, signal)


def _connectBySignature():
    objectConnect = QtCore.QObject.connect
    objectDisconnect = QtCore.QObject.disconnect

    def connect(self, signature, *receiver):
        if isinstance(signature, str):
            return _signalOf(self, signature).connect(*receiver)
        return objectConnect(self, signature, *receiver)

    def disconnect(self, signature=None, *receiver):
        if isinstance(signature, str):
            return _signalOf(self, signature).disconnect(*receiver)
        return objectDisconnect(self) if signature is None else objectDisconnect(self, signature, *receiver)

    # PySide6 looks connect and disconnect up by itself: setting them on the class has no effect.
    replaced = {"connect": connect, "disconnect": disconnect}

    def __getattribute__(self, name):
        if name in replaced:
            return MethodType(replaced[name], self)
        value = _getAttribute(self, name)
        return _Signal(self, value) if isinstance(value, QtCore.SignalInstance) else value

    for qtClass in (QtCore.QObject, QtCore.QIODevice):  # of two bases, which does not inherit it
        qtClass.__getattribute__ = __getattribute__
