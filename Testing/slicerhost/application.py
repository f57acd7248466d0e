"""``slicer.app`` and the start of the host: one call makes the scene, Qt and the module ``slicer`` ready."""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import ModuleType

import slicer
import slicer.util

from slicerhost.scene import IOManager, SlicerScene


class Signals:
    """Connections by signature, as ``slicer.app.connect("startupCompleted()", slot)``; needs no Qt."""

    signatures = ()

    def __init__(self):
        self._slots = {signature: [] for signature in self.signatures}

    def connect(self, signature, slot):
        self._slots[signature].append(slot)

    def disconnect(self, signature, slot):
        self._slots[signature].remove(slot)

    def emit(self, signature, *arguments):
        for slot in [*self._slots[signature]]:
            slot(*arguments)


class ModuleManager(Signals):
    """``slicer.app.moduleManager()``."""

    signatures = ("moduleAboutToBeUnloaded(QString)",)

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)


class _Environment(dict):
    """A QProcessEnvironment."""

    value = dict.get


class Application(Signals):
    """``slicer.app``: the part of qSlicerApplication that slicer.util and the modules ask for."""

    signatures = ("startupCompleted()",)
    applicationName = mainApplicationName = "Slicer"
    majorVersion, minorVersion = 5, 13

    def __init__(self, slicerScene, qApplication, temporaryPath):
        super().__init__()
        self.temporaryPath = str(temporaryPath)
        self._scene = slicerScene
        self._qApplication = qApplication
        self._ioManager = IOManager(slicerScene)
        self._moduleManager = ModuleManager()

    def testingEnabled(self):
        return True  # message boxes of slicer.util are written to the log

    def mrmlScene(self):
        return self._scene.scene

    def applicationLogic(self):
        return self._scene.applicationLogic

    def coreIOManager(self):
        return self._ioManager

    def moduleManager(self):
        return self._moduleManager

    def layoutManager(self):
        return None  # no main window, as in `Slicer --no-main-window`

    def startupEnvironment(self):
        return _Environment(os.environ)

    def topLevelWidgets(self):
        return self._qApplication.topLevelWidgets()

    def processEvents(self):
        self._qApplication.processEvents()

    def setOverrideCursor(self, cursor):
        self._qApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        self._qApplication.restoreOverrideCursor()

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass


class ModuleParent:
    """What a scripted module's constructor is given (qSlicerScriptedLoadableModule)."""

    __slots__ = (
        "acknowledgementText",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "path",
        "title",
        "widget",
    )

    def __init__(self, path):
        self.path = str(path)
        self.widget = None

    @property
    def name(self):
        return Path(self.path).stem

    def widgetRepresentation(self):
        return self.widget


class Host:
    """The running host.

    errors - exceptions in slots and observers, which Qt and VTK only print
    qtProblem - why Qt cannot be used on this machine, or None. Without Qt there are logics but no panels.
    """

    def __init__(self):
        if not os.environ.get("DISPLAY"):
            os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
            if sys.platform == "linux":
                os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        self.errors = []
        sys.excepthook = self._onUnhandledException
        temporaryFolder = Path(tempfile.mkdtemp(prefix="slicerhost-"))
        atexit.register(shutil.rmtree, temporaryFolder, ignore_errors=True)
        try:
            from slicerhost import pythonqt
        except ImportError as error:  # a system library is missing
            self.qtProblem = str(error)
            qApplication = None
        else:
            self.qtProblem = None
            qApplication = pythonqt.start(settingsFolder=temporaryFolder)
        self._scene = SlicerScene(temporaryFolder)
        slicer.mrmlScene = self._scene.scene
        slicer.modules = self._scene.modules
        slicer.app = Application(self._scene, qApplication, temporaryFolder)
        _installPythonModules()

    def clearScene(self):
        self._scene.clear()

    def loadModule(self, path):
        """Load a scripted module's file as Slicer does, and return the Python module."""
        path = Path(path)
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        parent = ModuleParent(path)
        if self.qtProblem is None:
            import qt

            parent.icon = qt.QIcon(str(path.parent / f"Resources/Icons/{path.stem}.png"))
        setattr(slicer.modules, path.stem.lower(), parent)
        setattr(slicer.modules, path.stem + "Instance", getattr(module, path.stem)(parent))
        slicer.app.emit("startupCompleted()")
        return module

    def openModule(self, module):
        """Make the module's panel and enter it, as choosing it in the module selector does."""
        import qt

        panel = slicer.qSlicerWidget()
        panel.setLayout(qt.QVBoxLayout())
        panel.setMRMLScene(slicer.mrmlScene)
        name = module.__name__
        widget = getattr(module, name + "Widget")(panel)
        widget.setup()
        panel.layout().addStretch(1)
        getattr(slicer.modules, name.lower()).widget = panel
        setattr(slicer.modules, name + "Widget", widget)
        if hasattr(widget, "enter"):
            widget.enter()
        return widget

    def closeModule(self, widget):
        """Leave and unload the module's panel."""
        import qt

        slicer.app.moduleManager().emit("moduleAboutToBeUnloaded(QString)", widget.moduleName)
        widget.parent.deleteLater()
        qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete.value)

    def waitUntil(self, condition, seconds=60):
        """Run the event loop until ``condition()`` is true; fails loudly if that never happens."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("The awaited condition did not come true.")
            slicer.app.processEvents()
            time.sleep(0.01)

    def _onUnhandledException(self, kind, error, trace):
        self.errors.append("".join(traceback.format_exception(kind, error, trace)))
        sys.__excepthook__(kind, error, trace)


def _installPythonModules():
    """The Python modules of Slicer that slicer-core lacks."""
    from slicerhost import packages, parameternode, samplesources, scriptedmodule

    i18n = ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    for name, module in (
        ("ScriptedLoadableModule", scriptedmodule),
        ("packaging", packages),
        ("parameterNodeWrapper", parameternode),
        ("i18n", i18n),
    ):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    slicer.modules.sampleDataSources = {}
    sys.modules["SampleData"] = samplesources


_host = None


def start():
    """Start the host, or return the one that runs: there is one `slicer` module in a process."""
    global _host
    if _host is None:
        _host = Host()
    return _host
