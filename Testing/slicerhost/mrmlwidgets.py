"""Stand-ins of Slicer's own widgets that the modules use. The host sets them as attributes of ``slicer``."""

import shiboken6
import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, QObject, Signal

from slicerhost.storedproperty import storedProperty


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        """Hand the scene on to the children, as the connections of mrmlSceneChanged in the .ui file do."""
        self._scene = scene
        for child in self.findChildren(QtWidgets.QWidget):
            if hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    pass


class qMRMLSortFilterProxyModel(QObject):
    """Which nodes a selector, its parent, does not list."""

    hiddenNodeIDs = storedProperty("QStringList", "hiddenNodeIDs", list, changed="invalidateFilter")

    def invalidateFilter(self):
        self.parent()._refresh()


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Choice of a node of the scene, with "None" and with entries that make, rename or delete one.

    As in Slicer, where the list is Qt's own combo box on a model of the scene: when the chosen node is deleted, the
    next one in the list is chosen in its place; and when a scene was imported, the list is made anew, so that "None"
    is chosen until somebody says otherwise. Whoever is connected is told both as if a user had chosen.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeTypes = storedProperty("QStringList", "nodeTypes", list, changed="_refresh")
    showChildNodeTypes = storedProperty(bool, "showChildNodeTypes", True, changed="_refresh")
    showHidden = storedProperty(bool, "showHidden", False, changed="_refresh")
    noneEnabled = storedProperty(bool, "noneEnabled", False, changed="_refresh")
    noneDisplay = storedProperty(str, "noneDisplay", "None", changed="_refresh")
    addEnabled = storedProperty(bool, "addEnabled", True, changed="_refresh")
    removeEnabled = storedProperty(bool, "removeEnabled", True, changed="_refresh")
    renameEnabled = storedProperty(bool, "renameEnabled", False, changed="_refresh")
    editEnabled = storedProperty(bool, "editEnabled", False)
    selectNodeUponCreation = storedProperty(bool, "selectNodeUponCreation", True)
    baseName = storedProperty(str, "baseName", "")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._observations = []
        self._nodeIDs = []
        self._currentID = None
        self._attributes = {}
        self._filter = qMRMLSortFilterProxyModel(self)
        self._observed = set()  # IDs of the nodes whose attributes decide whether they are listed
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._list = QtWidgets.QComboBox()
        self._list.activated.connect(self._onActivated)
        layout.addWidget(self._list)

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        for tag in self._observations:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        observers = (
            (slicer.vtkMRMLScene.NodeAddedEvent, self._onNodeAdded, 10.0),
            (slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved, -10.0),
            (slicer.vtkMRMLScene.EndImportEvent, self._onListMadeAnew, 0.0),
            (slicer.vtkMRMLScene.EndCloseEvent, self._onListMadeAnew, 0.0),
        )
        self._observations = [scene.AddObserver(*observer) for observer in observers] if scene else []
        self._refresh()

    def currentNode(self):
        return self._scene.GetNodeByID(self._currentID) if self._scene and self._currentID else None

    def setCurrentNode(self, node):
        self._setCurrentID(node.GetID() if node and node.GetID() in self._nodeIDs else None)

    def nodeCount(self):
        return sum(nodeID is not None for nodeID in self._nodeIDs)

    def nodeFromIndex(self, index):
        return self._scene.GetNodeByID([nodeID for nodeID in self._nodeIDs if nodeID][index])

    def addAttribute(self, nodeType, name):
        """Nodes of this type are listed only if they have the attribute."""
        self._attributes[nodeType] = name
        self._refresh()

    def sortFilterProxyModel(self):
        return self._filter

    def addNode(self):
        nodeType = self.nodeTypes[0]
        name = self.baseName or nodeType.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(nodeType, self._scene.GenerateUniqueName(name))
        if self.selectNodeUponCreation:
            self._setCurrentID(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def _onNodeAdded(self, scene, event):
        if shiboken6.isValid(self) and not scene.IsImporting():
            self._refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node):
        if not shiboken6.isValid(self) or scene.IsClosing() or node.GetID() not in self._nodeIDs:
            return
        row = self._nodeIDs.index(node.GetID())
        wasChosen = self._currentID == node.GetID()
        self._refresh(without=node)
        if wasChosen:
            self._setCurrentID(self._nodeIDs[min(row, len(self._nodeIDs) - 1)])

    def _onListMadeAnew(self, scene, event):
        if shiboken6.isValid(self):
            self._refresh()
            self._setCurrentID(self._nodeIDs[0])

    def _onNodeModified(self, node, event):
        if shiboken6.isValid(self) and node.GetScene() and not node.GetScene().IsImporting():
            self._refresh()

    def _isListed(self, node):
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if node.GetID() in self._filter.hiddenNodeIDs:
            return False
        attribute = self._attributes.get(node.GetClassName())
        if attribute:
            if node.GetID() not in self._observed:
                self._observed.add(node.GetID())
                node.AddObserver("ModifiedEvent", self._onNodeModified)
            if node.GetAttribute(attribute) is None:
                return False
        if self.showChildNodeTypes:
            return any(node.IsA(nodeType) for nodeType in self.nodeTypes)
        return node.GetClassName() in self.nodeTypes

    def _refresh(self, without=None):
        """Show the nodes of the scene; the choice stays, unless its node is not listed any longer."""
        nodes = []
        if self._scene:
            everything = (self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes()))
            nodes = [node for node in everything if node is not without and self._isListed(node)]
        self._nodeIDs = [None] if self.noneEnabled or not nodes else []
        self._nodeIDs += [node.GetID() for node in nodes]
        self._list.clear()
        for nodeID in self._nodeIDs:
            self._list.addItem(self._scene.GetNodeByID(nodeID).GetName() if nodeID else self.noneDisplay)
        if self.addEnabled:
            self._list.addItem("Create new " + (self.baseName or "node"))
        if self.removeEnabled:
            self._list.addItem("Delete current node")
        if self._currentID in self._nodeIDs:
            self._list.setCurrentIndex(self._nodeIDs.index(self._currentID))
        elif without is None:
            self._setCurrentID(self._nodeIDs[0])

    def _setCurrentID(self, nodeID):
        changed = nodeID != self._currentID
        self._currentID = nodeID
        self._list.setCurrentIndex(self._nodeIDs.index(nodeID) if nodeID in self._nodeIDs else -1)
        if changed:
            self.currentNodeIDChanged.emit(nodeID or "")
            self.currentNodeChanged.emit(self.currentNode())

    def _onActivated(self, index):
        if index < len(self._nodeIDs):
            self._setCurrentID(self._nodeIDs[index])
        elif self._list.itemText(index).startswith("Create"):
            self.addNode()
        elif self.currentNode():
            self._scene.RemoveNode(self.currentNode())

    currentNodeID = Property(
        str, lambda self: self._currentID or "", lambda self, nodeID: self._setCurrentID(nodeID or None)
    )


WIDGETS = (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox)
