"""MRML scene, application logic and module logics, as Slicer's start-up makes them."""

from pathlib import Path
from types import SimpleNamespace

import slicer
import vtk

# Logic class of each loadable module whose name does not follow vtkSlicer<Module>ModuleLogic.
_MODULE_LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Models": "vtkSlicerModelsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}
# file type -> node class, storage node class
_READERS = {
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
    "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode"),
}
_ENDINGS = {
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "VolumeFile": (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm"),
    "TableFile": (".csv", ".tsv"),
    "TransformFile": (".tfm", ".h5"),
    "SceneFile": (".mrml", ".mrb"),
}


class CoreModule:
    """What ``slicer.modules.<name>`` gives for a module written in C++: its name and its logic."""

    def __init__(self, name, logic):
        self.name = name
        self._logic = logic

    def logic(self):
        return self._logic


class SlicerScene:
    """The one scene of the application and the logics that observe it, kept alive together."""

    def __init__(self, temporaryFolder):
        self.scene = slicer.vtkMRMLScene()
        self.scene.SetRootDirectory(str(temporaryFolder))
        self._addCrosshair()
        self.applicationLogic = self._makeApplicationLogic(temporaryFolder)
        self.modules = SimpleNamespace()
        for name, className in _MODULE_LOGICS.items():
            self._addModule(name, getattr(slicer, className)())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self._remoteLogics = self._makeRemoteLogics(temporaryFolder)
        self._observeSubjectHierarchy()

    def clear(self):
        """Close the scene as File > Close Scene does."""
        # Clear(True) would also remove the colour nodes that every volume display needs.
        self.scene.Clear(False)

    def _addCrosshair(self):
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _makeApplicationLogic(self, temporaryFolder):
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(self.scene)
        logic.SetTemporaryPath(str(temporaryFolder))
        logic.GetColorLogic().SetMRMLScene(self.scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        return logic

    def _addModule(self, name, logic):
        if name == "Terminologies":
            # Slicer's own term lists are not in slicer-core; its default ones may stay unread.
            _withoutVtkMessages(lambda: self._connectLogic(name, logic))
        else:
            self._connectLogic(name, logic)
        setattr(self.modules, name.lower(), CoreModule(name, logic))

    def _connectLogic(self, name, logic):
        logic.SetMRMLScene(self.scene)
        logic.SetMRMLApplicationLogic(self.applicationLogic)
        self.applicationLogic.SetModuleLogic(name, logic)

    def _makeRemoteLogics(self, temporaryFolder):
        """Reading a scene bundle (.mrb) needs a cache manager in the scene."""
        remote = slicer.vtkMRMLRemoteIOLogic()
        remote.SetMRMLScene(self.scene)
        remote.SetMRMLApplicationLogic(self.applicationLogic)
        remote.GetCacheManager().SetRemoteCacheDirectory(str(temporaryFolder))
        data = slicer.vtkDataIOManagerLogic()
        data.SetMRMLScene(self.scene)
        data.SetMRMLApplicationLogic(self.applicationLogic)
        data.SetAndObserveDataIOManager(remote.GetDataIOManager())
        remote.AddDataIOToScene()
        return remote, data

    def _observeSubjectHierarchy(self):
        """The desktop application gives every data node an item in the subject hierarchy; so does the host."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeAdded(scene, event, node):
            if node.GetHideFromEditors() or scene.IsImporting():
                return
            if node.IsA("vtkMRMLDisplayableNode") or node.IsA("vtkMRMLTableNode"):
                hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
                if not hierarchy.GetItemByDataNode(node):
                    hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onNodeRemoved(scene, event, node):
            if scene.IsClosing():
                return
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            item = hierarchy.GetItemByDataNode(node)
            if item:
                hierarchy.RemoveItem(item, False, False)

        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, onNodeAdded)
        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, onNodeRemoved)


class IOManager:
    """``slicer.app.coreIOManager()``: reading and writing of the node types that the modules use."""

    def __init__(self, slicerScene):
        self._scene = slicerScene.scene
        self._applicationLogic = slicerScene.applicationLogic
        self._volumesLogic = slicerScene.modules.volumes.logic()

    def fileType(self, fileName):
        for fileType, endings in _ENDINGS.items():
            if str(fileName).lower().endswith(endings):
                return fileType
        return "NoFile"

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def loadNodes(self, fileType, properties, loadedNodes, userMessages):
        """Slicer's signature: nodes go into ``loadedNodes``, the cause of a failure into ``userMessages``."""
        path = Path(properties["fileName"])
        if not path.exists():
            userMessages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File not found: {path}")
            return False
        if fileType == "SceneFile":
            return self._loadScene(path, properties.get("clear", False), userMessages)
        name = properties.get("name") or path.name.split(".")[0]
        if fileType == "VolumeFile":
            node = self._loadVolume(path, name, properties)
        elif fileType in _READERS:
            node = self._loadByStorageNode(path, name, fileType, userMessages)
        else:
            raise NotImplementedError(f"The test host does not read {fileType} ({path.name}).")
        if node is None:
            return False
        loadedNodes.AddItem(node)
        return True

    def saveNodes(self, fileType, properties, userMessages):
        path = Path(properties["fileName"])
        if fileType == "SceneFile":
            return self._saveScene(path, userMessages)
        node = self._scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(str(path))
        storage = node.GetStorageNode()
        storage.SetFileName(str(path))
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        written = bool(storage.WriteData(node))
        if not written:
            userMessages.AddMessages(storage.GetUserMessages())
        return written

    def _loadVolume(self, path, name, properties):
        options = 0
        for bit, option in enumerate(("labelmap", "center", "singleFile")):
            if properties.get(option):
                options |= 1 << bit
        fileNames = None
        if properties.get("fileNames"):
            fileNames = vtk.vtkStringArray()
            for fileName in properties["fileNames"]:
                fileNames.InsertNextValue(str(fileName))
        return self._volumesLogic.AddArchetypeVolume(str(path), name, options, fileNames)

    def _loadByStorageNode(self, path, name, fileType, userMessages):
        nodeClass, storageClass = _READERS[fileType]
        node = self._scene.AddNewNodeByClass(nodeClass, self._scene.GenerateUniqueName(name))
        storage = self._scene.AddNewNodeByClass(storageClass)
        storage.SetFileName(str(path))
        node.SetAndObserveStorageNodeID(storage.GetID())
        if not storage.ReadData(node):
            userMessages.AddMessages(storage.GetUserMessages())
            self._scene.RemoveNode(node)
            self._scene.RemoveNode(storage)
            return None
        if hasattr(node, "CreateDefaultDisplayNodes"):
            node.CreateDefaultDisplayNodes()
        return node

    def _loadScene(self, path, clear, userMessages):
        if path.suffix == ".mrb":
            return bool(self._scene.ReadFromMRB(str(path), clear, userMessages))
        self._scene.SetURL(str(path))
        return bool(self._scene.Connect(userMessages) if clear else self._scene.Import(userMessages))

    def _saveScene(self, path, userMessages):
        if path.suffix == ".mrb":
            return bool(self._scene.WriteToMRB(str(path), None, userMessages))
        if path.suffix == ".mrml":
            self._scene.SetURL(str(path))
            self._scene.SetRootDirectory(str(path.resolve().parent))
            return bool(self._scene.Commit(str(path), userMessages))
        path.mkdir(parents=True, exist_ok=True)
        return bool(self._applicationLogic.SaveSceneToSlicerDataBundleDirectory(str(path), None, userMessages))


def _withoutVtkMessages(function):
    display = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        function()
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(display)


def writeVolume(volumeNode, path):
    """Write a volume as Slicer writes it, as NRRD, in its own coordinates: a transform above it is not applied."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()  # not in the scene: the node keeps its own file name
    storage.SetFileName(str(path))
    storage.SetUseCompression(False)
    if not storage.WriteData(volumeNode):
        raise RuntimeError(f"“{volumeNode.GetName()}” could not be written to {path}.")
