"""Small version of ``slicer.parameterNodeWrapper``: typed parameters in a MRML node, tied to widgets.

Knows the types, validators and widgets that the modules use, and refuses others as Slicer does.
"""

import dataclasses
import pathlib
import typing
import weakref

import slicer
import slicer.util
import vtk

__all__ = ["Choice", "Default", "Maximum", "Minimum", "WithinRange", "parameterNodeWrapper"]

_WIDGET_PROPERTY = "SlicerParameterName"


@dataclasses.dataclass
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value {value} is not within [{self.minimum}, {self.maximum}]")


@dataclasses.dataclass
class Minimum:
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value {value} is below {self.minimum}")


@dataclasses.dataclass
class Maximum:
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value {value} is above {self.maximum}")


@dataclasses.dataclass
class Choice:
    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value {value} is not one of {self.choices}")


class Default:
    """What a parameter is at first, if the class gives it no value; a generator is asked each time."""

    def __init__(self, value=None, *, generator=None):
        self._value = value
        self._generator = generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


class _Parameter:
    """One parameter: its type, validators and default, and how it is kept in the MRML node."""

    _SIMPLE_TYPES = (bool, int, float, str, pathlib.Path)

    def __init__(self, name, annotation, default):
        self.name = name
        self.type = annotation
        self.validators = []
        if typing.get_origin(annotation) is typing.Annotated:
            self.type, *self.validators = typing.get_args(annotation)
        defaults = [item for item in self.validators if isinstance(item, Default)]
        self.validators = [item for item in self.validators if not isinstance(item, Default)]
        self.isNode = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        if not self.isNode and self.type not in self._SIMPLE_TYPES:
            raise TypeError(f"Unable to create serializer for {self.type} member {name}")
        self.default = defaults[0] if defaults and default is None else Default(default)

    def read(self, node):
        self.writeDefault(node)  # closing the scene empties the node of a singleton
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node, value):
        if self.isNode:
            if value is not None and not isinstance(value, self.type):
                raise TypeError(f"{self.name} expects a {self.type.__name__}")
            node.SetParameter(self.name, "")  # None is a value too
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)
            return
        if not isinstance(value, (int, float) if self.type is float else self.type):
            raise TypeError(f"{self.name} expects {self.type.__name__}, not {type(value).__name__}")
        for validator in self.validators:
            validator.validate(value)
        node.SetParameter(self.name, str(value))

    def writeDefault(self, node):
        if not node.HasParameter(self.name):
            self.write(node, self.default.value)


class _Connector:
    """Ties a parameter to a widget: which widget class, which signal, which value."""

    def __init__(self, parameter, widget):
        import ctk
        import qt

        self.parameter = parameter
        self.widget = widget
        limits = next((v for v in parameter.validators if isinstance(v, WithinRange)), None)
        if parameter.isNode and type(widget) is slicer.qMRMLNodeComboBox:
            widget.nodeTypes = [parameter.type.__name__]
            self.signal = widget.currentNodeChanged
            self.read, self.write = widget.currentNode, widget.setCurrentNode
        elif parameter.type is float and type(widget) is ctk.ctkSliderWidget:
            if limits is None:
                raise RuntimeError("Cannot connect a ctkSliderWidget to a float without bounds.")
            widget.minimum, widget.maximum = limits.minimum, limits.maximum
            self._useProperty("value", widget.valueChanged)
        elif parameter.type is int and type(widget) is qt.QSpinBox:
            for validator in parameter.validators:
                widget.minimum = getattr(validator, "minimum", widget.minimum)
                widget.maximum = getattr(validator, "maximum", widget.maximum)
            self._useProperty("value", widget.valueChanged)
        elif parameter.type is float and type(widget) is qt.QDoubleSpinBox:
            if limits is not None:
                widget.minimum, widget.maximum = limits.minimum, limits.maximum
            self._useProperty("value", widget.valueChanged)
        elif parameter.type is bool and type(widget) is qt.QCheckBox:
            self._useProperty("checked", widget.toggled)
        elif parameter.type is str and type(widget) is qt.QComboBox:
            choices = next(v.choices for v in parameter.validators if isinstance(v, Choice))
            widget.clear()
            for choice in choices:
                widget.addItem(str(choice))
            self.signal = widget.currentIndexChanged
            self.read = lambda: choices[widget.currentIndex]
            self.write = lambda value: setattr(widget, "currentIndex", choices.index(value))
        elif parameter.type is pathlib.Path and type(widget) is ctk.ctkPathLineEdit:
            self.signal = widget.currentPathChanged
            self.read = lambda: pathlib.Path(widget.currentPath)
            self.write = lambda value: setattr(widget, "currentPath", str(value))
        else:
            raise RuntimeError(f"Unable to create GUI connector from {parameter.type} to widget type {type(widget)}")

    def _useProperty(self, name, signal):
        self.signal = signal
        self.read = lambda: getattr(self.widget, name)
        self.write = lambda value: setattr(self.widget, name, value)


class _Wrapper:
    """What the decorator adds to the class.

    As in Slicer the values are read when the node tells that it was modified, and else kept: a change of the node
    itself that it has not told yet, as within a block of `slicer.util.NodeModify`, is not seen.
    """

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._connections = {}
        self._nextTag = 0
        self._updatingWidgets = False
        self._writing = None
        self._values = {name: parameter.read(parameterNode) for name, parameter in self.allParameters.items()}
        wrapper = weakref.ref(self)  # the observer does not keep it alive
        parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: wrapper() and wrapper()._onModified())

    def _onModified(self):
        for name, parameter in self.allParameters.items():
            if name != self._writing:
                self._values[name] = parameter.read(self.parameterNode)

    def getValue(self, name):
        return self._values[name]

    def setValue(self, name, value):
        before, self._writing = self._writing, name
        try:
            with slicer.util.NodeModify(self.parameterNode):
                self.allParameters[name].write(self.parameterNode, value)
                self._values[name] = self.allParameters[name].read(self.parameterNode)
        finally:
            self._writing = before

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying):
        return self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui):
        """Tie every widget of ``gui`` that has the property SlicerParameterName to its parameter.

        As in Slicer, no tag is returned: what is connected by this cannot be disconnected.
        """
        widgets = [widget for widget in vars(gui).values() if widget.property(_WIDGET_PROPERTY)]
        self.connectParametersToGui({widget.property(_WIDGET_PROPERTY): widget for widget in widgets})

    def connectParametersToGui(self, widgets):
        """Tie each named parameter to its widget. Returns the tag for `disconnectGui`."""
        # All connectors are made before the first one writes: a combo box gets its choices anew.
        connectors = [_Connector(self.allParameters[name], widget) for name, widget in widgets.items()]
        tag = self._nextTag
        self._nextTag += 1
        self._connections[tag] = connectors
        for connector in connectors:
            connector.write(getattr(self, connector.parameter.name))
            connector.slot = lambda *_, connector=connector: self._onWidget(connector)
            connector.signal.connect(connector.slot)
        # As in Slicer, never removed; see RunWidget.py of the modules for what follows from that.
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateWidgets())
        return tag

    def disconnectGui(self, tag):
        """As in Slicer, an unknown tag is passed over in silence."""
        for connector in self._connections.pop(tag, ()):
            connector.signal.disconnect(connector.slot)

    def _onWidget(self, connector):
        with slicer.util.NodeModify(self):
            if not self._updatingWidgets:
                self.setValue(connector.parameter.name, connector.read())

    def _updateWidgets(self):
        if self._updatingWidgets:
            return
        self._updatingWidgets = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._connections.values():
                    for connector in connectors:
                        connector.write(self.getValue(connector.parameter.name))
        finally:
            self._updatingWidgets = False


def parameterNodeWrapper(declaration):
    """Class decorator: makes the annotated names properties that are kept in a vtkMRMLScriptedModuleNode."""
    annotations = typing.get_type_hints(declaration, include_extras=True)
    parameters = {
        name: _Parameter(name, annotation, getattr(declaration, name, None)) for name, annotation in annotations.items()
    }
    members = {name: _makeProperty(parameter) for name, parameter in parameters.items()}
    methods = {name: value for name, value in vars(declaration).items() if callable(value)}
    documentation = {"__doc__": declaration.__doc__, "__module__": declaration.__module__}
    return type(declaration.__name__, (_Wrapper,), {"allParameters": parameters, **methods, **members, **documentation})


def _makeProperty(parameter):
    return property(
        lambda self: self.getValue(parameter.name),
        lambda self, value: self.setValue(parameter.name, value),
    )
