"""A test host for 3D Slicer modules: the real MRML core (slicer-core) with a small imitation of the desktop.

Real are the scene, the nodes, their storage, the module logics, `slicer.util` and the rendering of slice and 3D
views. Imitated are PythonQt (on PySide6), the few CTK and MRML widgets and the Python classes that the modules use.

    import slicerhost
    host = slicerhost.start()
    module = host.loadModule("InfNetSegmentation/InfNetSegmentation.py")
    widget = host.openModule(module)
"""

from slicerhost.application import start

__all__ = ["start"]
