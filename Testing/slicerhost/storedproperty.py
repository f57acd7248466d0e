from PySide6 import QtCore


def storedProperty(kind, name, default, notify=None, changed=None):
    """A Qt property kept in the Python object: emits the signal ``notify``, then calls method ``changed``."""

    def read(self):
        value = self.__dict__.get("_" + name, default)
        return value() if callable(value) else value

    def write(self, value):
        if read(self) == value:
            return
        self.__dict__["_" + name] = value
        if changed:
            getattr(self, changed)()
        if notify:
            getattr(self, notify).emit(value)

    return QtCore.Property(kind, read, write)
